// The fakescore program under a real Slurm of one node; tests/slurm/with_cluster starts it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "slurm/slurm_job.hpp"

namespace fakescore {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::read_text;
using testing::run_shell;
using testing::shell_quoted;
using testing::ShellResult;
using testing::SlurmJob;
using testing::TempFolder;

const char* const kWeights = "diffusion_pytorch_model.safetensors";

/// The program on the digits' teacher; it writes `out` and `report.json`.
std::string run_into(const TempFolder& folder, const std::string& more = "") {
  return shell_quoted(FAKESCORE_PROGRAM) + " run --teacher " +
         shell_quoted(FAKESCORE_SOURCE_DIR "/examples/digits") + " --output " +
         shell_quoted(folder / "out") + " --json " + shell_quoted(folder / "report.json") + " " +
         more;
}

/// What one process without a launcher writes.
const std::string& expected_weights() {
  static const std::string bytes = [] {
    const TempFolder folder;
    const auto result = run_shell(run_into(folder));
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return read_text(folder / "out" / kWeights);
  }();
  return bytes;
}

struct Report {
  std::string launcher;
  std::string backend;
  int world_size = 0;
  std::vector<std::string> notes;
};

/// Expects one job that wrote what one process writes.
Report expect_done(const ShellResult& result, const TempFolder& folder) {
  EXPECT_EQ(result.exit_code, 0) << result.output;
  const auto json = nlohmann::json::parse(read_text(folder / "report.json"), nullptr, false);
  if (json.is_discarded()) {
    ADD_FAILURE() << "no report: " << result.output;
    return {};
  }
  EXPECT_FALSE(expected_weights().empty());
  EXPECT_TRUE(read_text(folder / "out" / kWeights) == expected_weights());
  return {json.at("launcher"), json.at("backend"), json.at("world_size"), json.at("launch_notes")};
}

void expect_job(const Report& report, const std::string& launcher, int world_size) {
  EXPECT_EQ(report.launcher, launcher);
  EXPECT_EQ(report.world_size, world_size);
}

/// srun outside of a batch script.
ShellResult srun(const std::string& options, const std::string& command) {
  return run_shell("srun --kill-on-bad-exit --ntasks=2 " + options + " " + command);
}

/// One whose tasks all fail by themselves: none is to be ended because another was faster.
ShellResult failing_srun(const std::string& options, const std::string& command) {
  return srun("--kill-on-bad-exit=0 " + options, command);
}

TEST(Srun, WithoutMpiMeetsAtTheStore) {
  const TempFolder folder;
  const Report report = expect_done(srun("--mpi=none", run_into(folder)), folder);
  expect_job(report, "Slurm", 2);
  EXPECT_EQ(report.backend, "store");
  EXPECT_THAT(report.notes, IsEmpty());
}

TEST(Srun, ByPmi2MeetsAtTheStoreAndSaysWhatToPass) {
  const TempFolder folder;
  const auto result = srun("--mpi=pmi2", run_into(folder));
  const Report report = expect_done(result, folder);
  expect_job(report, "Slurm", 2);
  EXPECT_EQ(report.backend, "store");
  EXPECT_THAT(report.notes,
              ElementsAre(AllOf(HasSubstr("PMI_SIZE=\"2\""), HasSubstr("--mpi=pmix"))));
  EXPECT_THAT(result.output, HasSubstr("--mpi=pmix"));
}

TEST(Srun, BesideLeftOverRankVariablesIsAnErrorThatNamesBoth) {
  const TempFolder folder;
  const auto result = failing_srun("--mpi=none --export=ALL,RANK=0,WORLD_SIZE=1", run_into(folder));
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_THAT(result.output, AllOf(HasSubstr("launchers torchrun and Slurm"),
                                   HasSubstr("RANK=\"0\""), HasSubstr("SLURM_STEP_NUM_TASKS=\"2\""),
                                   HasSubstr("FAKESCORE_LAUNCHER=slurm")));
  const auto chosen = srun("--mpi=none --export=ALL,RANK=0,WORLD_SIZE=1,FAKESCORE_LAUNCHER=slurm",
                           run_into(folder));
  expect_job(expect_done(chosen, folder), "Slurm", 2);
}

#ifdef FAKESCORE_TEST_MPIEXEC
TEST(Srun, ByPmixIsAJobOfMpi) {
  const TempFolder folder;
  const Report report = expect_done(srun("--mpi=pmix", run_into(folder)), folder);
  expect_job(report, "PMI", 2);
  EXPECT_EQ(report.backend, "mpi");
  EXPECT_THAT(report.notes, IsEmpty());
}

TEST(Srun, WithoutPmixIsAnErrorBeforeOpenMpiEndsTheProcess) {
  const TempFolder folder;
  const auto result = failing_srun("--mpi=pmi2", run_into(folder, "--launcher mpi"));
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_THAT(result.output, AllOf(HasSubstr("--mpi=pmix"), Not(HasSubstr("direct launched"))));
}

TEST(BatchScript, StartsMpirun) {
  const TempFolder folder;
  const SlurmJob job(folder, FAKESCORE_TEST_MPIEXEC " -n 2 " + run_into(folder));
  const Report report = expect_done(job.wait(), folder);
  expect_job(report, "Open MPI", 2);
  EXPECT_THAT(report.notes, ElementsAre(HasSubstr("batch script")));
}

TEST(BatchScript, StartsMpirunBesideLeftOverRankVariables) {
  const TempFolder folder;
  const SlurmJob job(
      folder, "export RANK=0 WORLD_SIZE=1\n" FAKESCORE_TEST_MPIEXEC " -n 2 " + run_into(folder));
  const Report report = expect_done(job.wait(), folder);
  expect_job(report, "Open MPI", 2);
  EXPECT_THAT(report.notes, Contains(HasSubstr("WORLD_SIZE=\"1\"")));
}

TEST(InteractiveStep, StartsMpirun) {
  const TempFolder folder;
  const auto result =
      run_shell("srun --ntasks=1 --mpi=pmix " FAKESCORE_TEST_MPIEXEC " --oversubscribe -n 2 " +
                run_into(folder));
  const Report report = expect_done(result, folder);
  expect_job(report, "Open MPI", 2);
  EXPECT_THAT(report.notes, ElementsAre(HasSubstr("one task")));
}
#endif

#ifdef FAKESCORE_TEST_TORCHRUN
const std::string kTorchrun =
    shell_quoted(FAKESCORE_TEST_TORCHRUN) + " --standalone --no-python --nproc-per-node 2 ";

TEST(BatchScript, StartsTorchrun) {
  const TempFolder folder;
  const SlurmJob job(folder, kTorchrun + run_into(folder));
  const Report report = expect_done(job.wait(), folder);
  expect_job(report, "torchrun", 2);
  EXPECT_THAT(report.notes, ElementsAre(HasSubstr("batch script")));
}

TEST(BatchScript, StartsTorchrunInATaskOfSrun) {
  const TempFolder folder;
  const SlurmJob job(folder, "srun --ntasks=1 --mpi=none " + kTorchrun + run_into(folder));
  const Report report = expect_done(job.wait(), folder);
  expect_job(report, "torchrun", 2);
  EXPECT_THAT(report.notes, ElementsAre(HasSubstr("Slurm")));
}
#endif

TEST(BatchScript, StartsSrun) {
  const TempFolder folder;
  const SlurmJob job(folder, "srun --mpi=none " + run_into(folder));
  const Report report = expect_done(job.wait(), folder);
  expect_job(report, "Slurm", 2);
  EXPECT_THAT(report.notes, IsEmpty());
}

TEST(BatchScript, IsOneProcessAndIsToldSo) {
  const TempFolder folder;
  const auto result = SlurmJob(folder, run_into(folder)).wait();
  const Report report = expect_done(result, folder);
  expect_job(report, "single process", 1);
  EXPECT_THAT(report.notes, ElementsAre(AllOf(HasSubstr("one process"), HasSubstr("srun"))));
  EXPECT_THAT(result.output, HasSubstr("start its 2 tasks with srun"));
}

TEST(BatchScript, IsOneProcessWhereATaskOfSrunSubmittedIt) {
  const TempFolder folder;
  const TempFolder inner;
  std::ofstream(inner / "inner.sh") << "#!/bin/bash\n" << run_into(inner) << "\n";
  const SlurmJob job(folder,
                     "srun --mpi=none bash -c '[ $SLURM_PROCID = 0 ] || exec sbatch --wait "
                     "--ntasks=2 --output=" +
                         (inner / "inner.out").string().insert(0, "\"") + "\" \"" +
                         (inner / "inner.sh").string() + "\"'");
  const auto result = job.wait();
  const Report report =
      expect_done({result.exit_code, result.output + read_text(inner / "inner.out")}, inner);
  expect_job(report, "single process", 1);
}

// Rank 1 begins where `condition` holds; else it keeps rank 0, which says that it began, waiting.
std::string srun_with_waiting_rank(const TempFolder& folder, const std::string& options,
                                   const std::string& condition) {
  const auto script = folder / "rank.sh";
  std::ofstream(script) << "#!/bin/bash\n"
                        << "echo $$ > rank$SLURM_PROCID.pid\n"
                        << "if [ $SLURM_PROCID = 1 ] && ! " << condition << "; then\n"
                        << "  until [ -e rank0.pid ]; do sleep 0.1; done\n"
                        << "  sleep 1; touch waiting; exec sleep 600\nfi\n"
                        << "exec " << run_into(folder) << "\n";
  return "srun " + options + " bash " + shell_quoted(script);
}

void expect_gone(const std::filesystem::path& pid_file) {
  const std::string pid = read_text(pid_file);
  ASSERT_FALSE(pid.empty()) << pid_file;
  EXPECT_FALSE(std::filesystem::exists("/proc/" + pid.substr(0, pid.find('\n')))) << pid;
}

class CancelledJob : public ::testing::TestWithParam<std::string> {};

TEST_P(CancelledJob, LeavesNothingBehind) {
  const TempFolder folder;
  std::ofstream(folder / "report.json") << "an older report";
  const SlurmJob job(folder, srun_with_waiting_rank(folder, "--mpi=" + GetParam(), "false"));
  job.call_after("scancel", "waiting");
  job.wait();
  EXPECT_EQ(job.state(), "CANCELLED");
  expect_gone(folder / "rank0.pid");
  expect_gone(folder / "rank1.pid");
  EXPECT_FALSE(std::filesystem::exists(folder / "out" / kWeights));
  EXPECT_EQ(read_text(folder / "report.json"), "an older report");
}

#ifdef FAKESCORE_TEST_MPIEXEC
INSTANTIATE_TEST_SUITE_P(Mpi, CancelledJob, ::testing::Values("none", "pmix"),
                         [](const auto& test) { return test.param; });
#else
INSTANTIATE_TEST_SUITE_P(Mpi, CancelledJob, ::testing::Values("none"),
                         [](const auto& test) { return test.param; });
#endif

// Its number, its steps' numbers and therefore its port are those of the first try.
TEST(RequeuedJob, IsDoneByItsSecondTry) {
  const TempFolder folder;
  const SlurmJob job(folder, srun_with_waiting_rank(folder, "--mpi=none",
                                                    "[ \"${SLURM_RESTART_COUNT:-0}\" = 1 ]"));
  job.call_after("scontrol requeue", "waiting");
  job.start_again();
  const Report report = expect_done(job.wait(), folder);
  expect_job(report, "Slurm", 2);
}

}  // namespace
}  // namespace fakescore
