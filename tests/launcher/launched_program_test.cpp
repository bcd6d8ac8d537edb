// The fakescore program as a job: under mpirun, torchrun and Slurm's variables.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "launcher/program.hpp"
#include "support/temp_folder.hpp"

namespace fakescore {
namespace {

using testing::expect_same_tensors;
using ::testing::HasSubstr;
using testing::kDigits;
using testing::program_command;
using testing::run_of;
using testing::run_shell;
using testing::shell_quoted;
using testing::ShellResult;
using testing::TempFolder;

void expect_job_output(const ShellResult& result, const TempFolder& folder, int ranks) {
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("the same on every rank"));
  EXPECT_THAT(result.output, HasSubstr("rank " + std::to_string(ranks - 1) + " "));
  expect_same_tensors(kDigits, folder.path());
}

std::string run_into(const TempFolder& folder) {
  return program_command(run_of(kDigits) + " --output " + shell_quoted(folder.path()));
}

#ifdef FAKESCORE_TEST_MPIEXEC
size_t count_of(const std::string& part, const std::string& text) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(ProgramUnderMpirun, TheLastRankWritesTheTeachersBytes) {
  const TempFolder folder;
  const auto result = run_shell(testing::mpirun(3) + run_into(folder));
  expect_job_output(result, folder, 3);
  // Open MPI gives ranks a pipe for standard error, on which a bar cannot be redrawn.
  EXPECT_THAT(result.output, HasSubstr("(100 %)\n"));
  EXPECT_EQ(count_of("\r", result.output), 0U);
}

TEST(ProgramUnderMpirun, ATorchFileIsATeacher) {
  const TempFolder folder;
  const auto file = std::filesystem::path(FAKESCORE_TEST_DATA) / "torch/parameters.pt";
  const auto result =
      run_shell(testing::mpirun(2) + program_command(run_of(file) + " --verify --output " +
                                                     shell_quoted(folder.path())));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("the same on every rank"));
  expect_same_tensors(file, folder.path());
  const auto inspected = testing::program("inspect " + shell_quoted(file));
  EXPECT_EQ(inspected.exit_code, 0);
  EXPECT_THAT(inspected.output, HasSubstr("1.num_batches_tracked"));
}

TEST(ProgramUnderMpirun, AnErrorIsPrintedOnceAndIsTheJobsExitCode) {
  const auto result = run_shell(testing::mpirun(3) + program_command(run_of("/nonexistent")));
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(count_of("teacher error on rank 0", result.output), 1U) << result.output;
}

TEST(ProgramUnderMpirun, BadUsageIsPrintedOnce) {
  const auto result = run_shell(testing::mpirun(3) + program_command("run"));
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(count_of("--teacher is required", result.output), 1U) << result.output;
  EXPECT_EQ(
      count_of("Exit codes", run_shell(testing::mpirun(3) + program_command("--help")).output), 1U);
}

TEST(ProgramUnderMpirun, AnOutputOfTheLastRankThatCannotBeWrittenIsEveryRanksError) {
  const auto result =
      run_shell(testing::mpirun(3) + program_command(run_of(kDigits) + " --output /proc/nowhere"));
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(count_of("error on rank 2 in output: /proc/nowhere", result.output), 1U)
      << result.output;
}
#endif

#ifdef FAKESCORE_TEST_TORCHRUN
TEST(ProgramUnderTorchrun, TheLastRankWritesTheTeachersBytes) {
  const TempFolder folder;
  expect_job_output(run_shell(testing::torchrun(2) + run_into(folder)), folder, 2);
}
#endif

TEST(ProgramUnderSlurm, RanksMeetAtTheStoreOfRankZero) {
  const TempFolder folder;
  auto rank = [&](int number) {
    return run_shell("env SLURM_PROCID=" + std::to_string(number) +
                     " SLURM_NTASKS=2 SLURM_LOCALID=" + std::to_string(number) +
                     " SLURM_JOB_ID=" + std::to_string(::getpid()) +
                     " SLURM_LAUNCH_NODE_IPADDR=127.0.0.1 " + run_into(folder));
  };
  auto other = std::async(std::launch::async, rank, 1);
  const auto first = rank(0);
  EXPECT_EQ(other.get().exit_code, 0);
  expect_job_output(first, folder, 2);
}

}  // namespace
}  // namespace fakescore
