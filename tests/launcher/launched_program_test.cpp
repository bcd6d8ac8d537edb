// The fakescore program as a job: under mpirun, torchrun and Slurm's variables.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <future>

#include "launcher/program.hpp"
#include "support/temp_folder.hpp"

namespace fakescore {
namespace {

using ::testing::AllOf;
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

TEST(ProgramUnderMpirun, OneRankAroundItInTheVariablesDoesNotCount) {
  const TempFolder folder;
  const auto result = run_shell("env RANK=0 WORLD_SIZE=1 " + testing::mpirun(4) + run_into(folder));
  expect_job_output(result, folder, 4);
  EXPECT_EQ(count_of("launched by Open MPI\n", result.output), 1U) << result.output;
  // In a line at the start and in the report.
  EXPECT_EQ(count_of("torchrun (RANK=\"0\", WORLD_SIZE=\"1\") does not count", result.output), 2U)
      << result.output;
}

TEST(ProgramUnderMpirun, OtherRankVariablesAreAnErrorThatNamesBoth) {
  const TempFolder folder;
  const std::string variables = "env RANK=0 WORLD_SIZE=3 MASTER_ADDR=127.0.0.1 MASTER_PORT=29500 ";
  const auto result = run_shell(variables + testing::mpirun(2) + run_into(folder));
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("launchers torchrun and Open MPI"), HasSubstr("WORLD_SIZE=\"3\""),
                    HasSubstr("OMPI_COMM_WORLD_SIZE=\"2\""), HasSubstr("FAKESCORE_LAUNCHER=mpi")));
  const auto chosen =
      run_shell(variables + testing::mpirun(2) + run_into(folder) + " --launcher mpi");
  expect_job_output(chosen, folder, 2);
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

TEST(ProgramUnderSlurm, ABatchScriptIsOneProcessAndIsToldSo) {
  const TempFolder folder;
  const auto result =
      run_shell("env SLURM_PROCID=0 SLURM_NTASKS=2 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_JOB_ID=4 " +
                run_into(folder));
  expect_job_output(result, folder, 1);
  EXPECT_THAT(result.output, HasSubstr("start its 2 tasks with srun or mpirun"));
}

/// Takes the port that Slurm's job `job` would have; -1 where another program has it.
int take_port_of_job(int job) {
  const int holder = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(20000 + job % 8000));
  if (::bind(holder, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 &&
      ::listen(holder, 1) == 0) {
    return holder;
  }
  ::close(holder);
  return -1;
}

TEST(ProgramUnderSlurm, ATakenPortIsNamedWithTheWayToSetAnother) {
  int job = ::getpid();
  int holder = -1;
  while (holder < 0) holder = take_port_of_job(++job);
  const TempFolder folder;
  const auto result =
      run_shell("env SLURM_PROCID=0 SLURM_NTASKS=2 SLURM_JOB_NODELIST=127.0.0.1 " +
                ("SLURM_JOB_ID=" + std::to_string(job) + " ") + run_into(folder) + " --timeout 5");
  ::close(holder);
  EXPECT_EQ(result.exit_code, 5) << result.output;
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("port " + std::to_string(20000 + job % 8000)),
                    HasSubstr("follows from SLURM_JOB_ID"),
                    HasSubstr("set MASTER_PORT on every rank"), HasSubstr("outgoing connections")));
}

}  // namespace
}  // namespace fakescore
