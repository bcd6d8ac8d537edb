// The CPU benchmark's quick mode, from the teachers to the table: what it loads is right on every
// rank, and no rank takes more memory or page faults than promised. Nothing here depends on speed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "support/shell.hpp"
#include "support/temp_folder.hpp"

namespace fakescore {
namespace {

using nlohmann::json;
using testing::run_shell;
using testing::shell_quoted;
using testing::ShellResult;
using testing::TempFolder;

constexpr int64_t kPageBytes = 4096;
constexpr int64_t kAllowance = int64_t{16} << 20;
constexpr int64_t kAllowancePerTensor = 8 << 10;
constexpr double kFaultsPerPage = 1.1;

std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// One run serves all tests: it takes seconds.
class CpuBenchmark : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    const TempFolder folder;
    ran_ = run_shell(shell_quoted(FAKESCORE_TEST_PYTHON) + " " +
                     shell_quoted(FAKESCORE_SOURCE_DIR "/benchmarks/cpu/compare.py") +
                     " --quick --build " + shell_quoted(FAKESCORE_BUILD_FOLDER) + " --folder " +
                     shell_quoted(folder / ""));
    for (const auto& entry : std::filesystem::directory_iterator(folder / "")) {
      if (entry.path().extension() == ".md") table_ = text_of(entry.path());
      if (entry.path().extension() != ".jsonl") continue;
      std::ifstream file(entry.path());
      for (std::string line; std::getline(file, line);) lines_.push_back(json::parse(line));
    }
  }

  static std::vector<json> loads_of(const std::string& workload) {
    std::vector<json> found;
    for (const json& line : lines_) {
      if (line["side"] != "limits" && line["workload"] == workload) found.push_back(line);
    }
    return found;
  }

  static ShellResult ran_;
  static std::string table_;
  static std::vector<json> lines_;
};

ShellResult CpuBenchmark::ran_;
std::string CpuBenchmark::table_;
std::vector<json> CpuBenchmark::lines_;

int64_t allowed_bytes(const json& load) {
  return load["model_bytes"].get<int64_t>() + kAllowance +
         load["tensors"].get<int64_t>() * kAllowancePerTensor;
}

int64_t growth(const json& rank, const char* key) {
  return rank[key].get<int64_t>() - rank["anonymous_before"].get<int64_t>();
}

TEST_F(CpuBenchmark, EndsWellAndWritesItsTable) {
  EXPECT_EQ(ran_.exit_code, 0) << ran_.output;
  EXPECT_THAT(table_, ::testing::HasSubstr("| 5,000 tensors of 4 KiB | 2 |")) << ran_.output;
}

TEST_F(CpuBenchmark, MeasuresTheLimits) {
  size_t limits = 0;
  for (const json& line : lines_) {
    if (line["side"] != "limits") continue;
    ++limits;
    ASSERT_EQ(line["by_rank"].size(), 2U) << line;
    for (const json& rank : line["by_rank"]) {
      EXPECT_GT(rank["broadcast_seconds"], 0);
      EXPECT_GT(rank["copy_seconds"], 0);
    }
  }
  EXPECT_EQ(limits, 2U) << ran_.output;
}

class CpuBenchmarkLoad : public CpuBenchmark, public ::testing::WithParamInterface<const char*> {};

TEST_P(CpuBenchmarkLoad, GivesEveryRankWeightsBuffersAndTies) {
  ASSERT_GE(loads_of(GetParam()).size(), 2U) << ran_.output;
  for (const json& load : loads_of(GetParam())) {
    ASSERT_EQ(load["by_rank"].size(), 2U) << load;
    EXPECT_GT(load["phases"].size(), 0U);
    EXPECT_THAT(load["versions"]["torch"], ::testing::StartsWith("2."));
    for (const json& rank : load["by_rank"]) {
      EXPECT_EQ(rank["first_difference"], "");
      EXPECT_EQ(rank["buffers_right"], true);
      EXPECT_EQ(rank["ties_right"], true);
      EXPECT_GT(rank["first_byte_seconds"], 0);
      EXPECT_LT(rank["first_byte_seconds"], rank["seconds"]);
      EXPECT_GT(rank["cpu_seconds"], 0);
    }
  }
}

TEST_P(CpuBenchmarkLoad, TakesTheModelAndLittleMoreOnEveryRank) {
  size_t sampled = 0;
  for (const json& load : loads_of(GetParam())) {
    for (const json& rank : load["by_rank"]) {
      EXPECT_GE(growth(rank, "anonymous_loaded"), load["model_bytes"]) << "not a measurement";
      EXPECT_LE(growth(rank, "anonymous_loaded"), allowed_bytes(load)) << load;
      EXPECT_LE(growth(rank, "anonymous_written"), allowed_bytes(load)) << load;
      if (!load["sampled"]) continue;
      ++sampled;
      EXPECT_LE(growth(rank, "anonymous_peak"), allowed_bytes(load)) << load;
    }
  }
  EXPECT_GE(sampled, 2U) << ran_.output;
}

INSTANTIATE_TEST_SUITE_P(Quick, CpuBenchmarkLoad, ::testing::Values("wan2", "small5000"));

/// Of a large model the pages are the model's; of small tensors the modules' own objects have as
/// many.
TEST_F(CpuBenchmark, FaultsOnceForEachPage) {
  for (const char* const workload : {"wan2", "small5000"}) {
    for (const json& load : loads_of(workload)) {
      const bool is_large = std::string(workload) == "wan2";
      const int64_t bytes = is_large ? load["model_bytes"].get<int64_t>() : allowed_bytes(load);
      for (const json& rank : load["by_rank"]) {
        const int64_t faults =
            rank["faults"].get<int64_t>() + rank["first_write_faults"].get<int64_t>();
        EXPECT_LE(static_cast<double>(faults),
                  kFaultsPerPage * static_cast<double>(bytes) / kPageBytes)
            << load;
      }
    }
  }
}

}  // namespace
}  // namespace fakescore
