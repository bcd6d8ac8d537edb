// What the load benchmark counts on emulated devices: every byte once, and few launches.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "launcher/program.hpp"
#include "support/shell.hpp"
#include "support/temp_folder.hpp"

namespace fakescore {
namespace {

using nlohmann::json;
using testing::run_shell;
using testing::shell_quoted;
using testing::TempFolder;

const std::string kBenchmarks = FAKESCORE_SOURCE_DIR "/benchmarks/";
constexpr uint64_t kSmallTensors = 5000;
constexpr uint64_t kLargeTensors = 4;
constexpr uint64_t kSmallBytes = kSmallTensors * (4 << 10);
constexpr uint64_t kBytes = kSmallBytes + kLargeTensors * (8 << 20);
constexpr uint64_t kBucketBytes = 1 << 20;
constexpr uint64_t kPinnedBytes = 1 << 20;

std::string python(const std::string& script) {
  return shell_quoted(FAKESCORE_TEST_PYTHON) + " " + shell_quoted(kBenchmarks + script) + " ";
}

/// The object that a program printed, which its launcher's own lines may surround.
json printed_json(const std::string& output) {
  const size_t begin = output.find('{');
  const size_t end = output.rfind('}');
  if (begin == std::string::npos || end == std::string::npos) return {};
  return json::parse(output.substr(begin, end + 1 - begin), nullptr, /*allow_exceptions=*/false);
}

/// Runs a job of two ranks on a new file; what it printed, and the trace's description.
struct Traced {
  json line;
  json overlap;
};

Traced trace_load(const std::string& launcher, const std::string& read) {
  const TempFolder folder;
  const auto teacher = shell_quoted(folder / "teacher.safetensors");
  const auto trace = shell_quoted(folder / "trace.json");
  const auto made =
      run_shell(python("common/make_teacher.py") + teacher + " --kind small --small " +
                std::to_string(kSmallTensors) + " --large " + std::to_string(kLargeTensors));
  EXPECT_EQ(made.exit_code, 0) << made.output;
  const auto loaded = run_shell(
      "env FAKESCORE_EMULATION_DELAY_US=200 " + launcher + shell_quoted(FAKESCORE_TEST_EMULATE) +
      " " + shell_quoted(FAKESCORE_LOAD_BENCHMARK) + " --teacher " + teacher + " --trace " + trace +
      " --bucket-bytes " + std::to_string(kBucketBytes) + " --pinned-bytes " +
      std::to_string(kPinnedBytes) + " --read " + read);
  EXPECT_EQ(loaded.exit_code, 0) << loaded.output;
  if (read != "root") return {printed_json(loaded.output), {}};
  const auto described = run_shell(python("gpu/timeline.py") + trace);
  EXPECT_EQ(described.exit_code, 0) << described.output;
  return {printed_json(loaded.output), printed_json(described.output)};
}

void expect_read_and_sent(const json& rank, uint64_t read_bytes) {
  EXPECT_EQ(rank["read_bytes"], read_bytes);
  EXPECT_EQ(rank["distinct_read_bytes"], read_bytes);
  const json& device = rank["emulated"];
  EXPECT_EQ(device["h2d_bytes"], read_bytes);
  EXPECT_EQ(device["d2h_bytes"], 0);
  EXPECT_EQ(device["nccl_broadcast_bytes"], kBytes);
  EXPECT_EQ(device["nccl_other_calls"], 0);
  // What is small travels packed; the rest lands in place.
  EXPECT_EQ(device["d2d_bytes"], kSmallBytes);
  EXPECT_LE(device["pinned_bytes_peak"], kPinnedBytes);
}

void expect_every_byte_once(const json& line) {
  EXPECT_EQ(line["equals_file"], true);
  EXPECT_EQ(line["bytes"], kBytes);
  ASSERT_EQ(line["counts"].size(), 2U);
  for (const json& rank : line["counts"]) {
    expect_read_and_sent(rank, rank["rank"] == 0 ? kBytes : 0);
  }
}

/// Each rank reads some of the file, and copies that to its own GPU.
void expect_every_byte_once_in_turns(const json& line) {
  EXPECT_EQ(line["equals_file"], true);
  ASSERT_EQ(line["counts"].size(), 2U);
  uint64_t all = 0;
  for (const json& rank : line["counts"]) {
    const uint64_t read = rank["read_bytes"];
    EXPECT_GT(read, kBytes / 4);
    all += read;
    expect_read_and_sent(rank, read);
  }
  EXPECT_EQ(all, kBytes);
}

void expect_few_launches(const json& line) {
  const uint64_t full_buckets = (kBytes + kBucketBytes - 1) / kBucketBytes;
  for (const json& rank : line["counts"]) {
    EXPECT_LE(rank["emulated"]["nccl_launches"], full_buckets + kLargeTensors);
  }
}

/// No order of the overlaps is fixed, and delays are random: one bucket is enough.
void expect_overlap(const json& line, const json& overlap) {
  const json& launches = line["counts"][0]["emulated"]["nccl_launches"];
  EXPECT_EQ(overlap["buckets"], launches);
  EXPECT_EQ(overlap["copied_after_read_and_broadcast_after_copy"], launches);
  EXPECT_GT(overlap["broadcast_while_later_ones_are_read_and_copied"], 0) << overlap;
}

void expect_counts(const std::string& launcher) {
  const Traced traced = trace_load(launcher, "root");
  ASSERT_TRUE(traced.line.is_object() && traced.overlap.is_object());
  expect_every_byte_once(traced.line);
  expect_few_launches(traced.line);
  expect_overlap(traced.line, traced.overlap);
}

#ifdef FAKESCORE_TEST_MPIEXEC
TEST(LoadBenchmark, UnderMpirunMovesEveryByteOnce) { expect_counts(testing::mpirun(2)); }

TEST(LoadBenchmark, RanksThatTakeTurnsReadAndCopyEveryByteOnce) {
  for (const char* read : {"turns", "auto"}) {
    const Traced traced = trace_load(testing::mpirun(2), read);
    ASSERT_TRUE(traced.line.is_object());
    expect_every_byte_once_in_turns(traced.line);
  }
}
#endif

#ifdef FAKESCORE_TEST_TORCHRUN
TEST(LoadBenchmark, UnderTorchrunMovesEveryByteOnce) { expect_counts(testing::torchrun(2)); }
#endif

}  // namespace
}  // namespace fakescore
