// Each exit code that docs/errors.md promises, from the program itself.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <fstream>

#include "launcher/program.hpp"
#include "support/temp_folder.hpp"

namespace fakescore {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::kDigits;
using testing::program;
using testing::program_command;
using testing::run_of;
using testing::run_shell;
using testing::shell_quoted;
using testing::TempFolder;

TEST(ExitCode, TwoIsBadUsage) {
  for (const char* arguments : {"", "fly", "run", "run --teacher", "run --teacher x --dtype int7",
                                "run --teacher x --bucket-bytes 1", "run --teacher x --timeout -1",
                                "run --teacher x --frob", "inspect"}) {
    EXPECT_EQ(program(arguments).exit_code, 2) << arguments;
  }
  const auto config = program(run_of(kDigits) + " --config /nonexistent.json");
  EXPECT_EQ(config.exit_code, 2);
  EXPECT_THAT(config.output, HasSubstr("/nonexistent.json"));
}

TEST(ExitCode, TwoIsABadLaunchEnvironment) {
  const auto result = run_shell("env RANK=abc WORLD_SIZE=2 " + program_command(run_of(kDigits)));
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.output, AllOf(HasSubstr("RANK"), HasSubstr("abc")));
}

TEST(ExitCode, ThreeIsABadTeacher) {
  const TempFolder folder;
  std::filesystem::copy(kDigits / "config.json", folder / "config.json");
  const auto weights = folder / "diffusion_pytorch_model.safetensors";
  std::filesystem::copy(kDigits / "diffusion_pytorch_model.safetensors", weights);
  std::filesystem::resize_file(weights, 1'000'000);
  const auto truncated = program(run_of(folder.path()));
  EXPECT_EQ(truncated.exit_code, 3);
  EXPECT_THAT(truncated.output, AllOf(HasSubstr("truncated"), HasSubstr(weights.string())));
  EXPECT_EQ(program(run_of("/nonexistent")).exit_code, 3);
  EXPECT_EQ(program("inspect /nonexistent").exit_code, 3);
}

TEST(ExitCode, ThreeIsATeacherThatCannotBeReached) {
  const TempFolder folder;
  const auto loop = folder / "loop.safetensors";
  std::filesystem::create_symlink(loop, loop);
  const std::filesystem::path long_name = "/" + std::string(5000, 'n');
  for (const auto& path : {folder.path(), loop, loop / "below", long_name}) {
    for (const auto& result : {program("inspect " + shell_quoted(path)), program(run_of(path))}) {
      EXPECT_EQ(result.exit_code, 3) << result.output;
      EXPECT_THAT(result.output, HasSubstr("teacher error"));
    }
  }
}

#ifdef FAKESCORE_TEST_MPIEXEC
TEST(ExitCode, FourIsRanksThatDiffer) {
  const auto result = run_shell(testing::mpirun(1) + program_command(run_of(kDigits)) +
                                " --bucket-bytes 4096 : -n 1 " + program_command(run_of(kDigits)));
  EXPECT_EQ(result.exit_code, 4) << result.output;
  EXPECT_THAT(result.output, HasSubstr("bucket"));
}
#endif

TEST(ExitCode, FiveIsALostPeer) {
  const std::string job = std::to_string(::getpid());
  const auto result = run_shell(
      "env SLURM_PROCID=0 SLURM_NTASKS=2 SLURM_LAUNCH_NODE_IPADDR=127.0.0.1 SLURM_JOB_ID=" + job +
      " " + program_command(run_of(kDigits)) + " --timeout 1");
  EXPECT_EQ(result.exit_code, 5) << result.output;
  EXPECT_THAT(result.output, AllOf(HasSubstr("lost peer"), HasSubstr("rank 1")));
}

TEST(ExitCode, SixIsABuildThatFailed) {
  const TempFolder folder;
  const auto config = folder / "config.json";
  std::ofstream(config) << R"({"_class_name": "DiTTransformer2DModel", "norm_type": "ada_norm_zero",
    "sample_size": 8, "num_attention_heads": 262144, "attention_head_dim": 262144})";
  const auto result = program(run_of(kDigits) + " --config " + shell_quoted(config));
  EXPECT_EQ(result.exit_code, 6) << result.output;
  EXPECT_THAT(result.output, HasSubstr("build error"));
}

#ifndef FAKESCORE_SANITIZED
TEST(ExitCode, SevenIsOutOfMemory) {
  // 4 GiB that take no disk, eight times as much once they are float64, in 16 GiB of addresses.
  const TempFolder folder;
  const auto weights = folder / "model.safetensors";
  const uint64_t bytes = uint64_t{4} << 30;
  std::string header = R"({"x":{"dtype":"F8_E4M3","shape":[)" + std::to_string(bytes) +
                       R"(],"data_offsets":[0,)" + std::to_string(bytes) + "]}}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const uint64_t length = header.size();
  std::ofstream file(weights, std::ios::binary);
  file.write(reinterpret_cast<const char*>(&length), sizeof(length)) << header;
  file.close();
  std::filesystem::resize_file(weights, sizeof(length) + length + bytes);
  const auto result = run_shell("prlimit --as=17179869184 " + program_command(run_of(weights)) +
                                " --dtype float64");
  EXPECT_EQ(result.exit_code, 7) << result.output;
  EXPECT_THAT(result.output, HasSubstr("memory error"));
}
#endif

}  // namespace
}  // namespace fakescore
