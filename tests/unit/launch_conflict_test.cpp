// Variables of several launchers at once.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "unit/launch_cases.hpp"

namespace fakescore {
namespace {

using testing::launch::agent_rank;
using testing::launch::config_error;
using testing::launch::detect;
using testing::launch::expect_names;
using testing::launch::merged;
using testing::launch::mpirun_rank;
using testing::launch::rank_of;
using testing::launch::rank_variables;
using testing::launch::slurm_batch;
using testing::launch::slurm_node;
using testing::launch::slurm_task;
using testing::launch::Values;

void expect_job(const LaunchEnv& launch, Launcher launcher, int rank, int world_size) {
  EXPECT_EQ(launch.launcher, launcher) << to_string(launch.launcher);
  EXPECT_EQ(launch.rank, rank);
  EXPECT_EQ(launch.world_size, world_size);
}

/// One launcher counts, and one note names the other, its variables and why.
void expect_passed_over(const Values& values, Launcher launcher, int rank, int world_size,
                        const std::vector<std::string>& words) {
  const LaunchEnv launch = detect(values);
  expect_job(launch, launcher, rank, world_size);
  ASSERT_EQ(launch.notes.size(), 1U);
  expect_names(launch.notes[0], words);
}

TEST(Precedence, IsTorchrunOpenMpiPmiSlurmWhereTheyAgree) {
  Values values = slurm_task(1, 2);
  expect_job(detect(values), Launcher::kSlurm, 1, 2);
  values = merged(values, {{"PMIX_RANK", "1"}, {"PMIX_NAMESPACE", "slurm.pmix.4.0"}});
  expect_job(detect(values), Launcher::kPmi, 1, 2);
  values = merged(values, mpirun_rank(1, 2));
  expect_job(detect(values), Launcher::kOpenMpi, 1, 2);
  values = merged(values, rank_variables(1, 2));
  expect_job(detect(values), Launcher::kTorchrun, 1, 2);
  EXPECT_TRUE(detect(values).notes.empty());
  expect_job(detect(values, rank_of(1, 3)), Launcher::kExplicit, 1, 3);
}

TEST(Precedence, TakesTheLocalRankOfALauncherThatHasOne) {
  Values values = merged(slurm_task(5, 8), {{"SLURM_LOCALID", "1"}});
  EXPECT_EQ(detect(merged(values, rank_variables(5, 8))).local_rank, 1);
  EXPECT_EQ(detect(rank_variables(5, 8)).local_rank, 5);
}

TEST(Disagreement, NamesBothLaunchersTheirValuesAndTheChoice) {
  expect_names(config_error(merged(rank_variables(1, 2), mpirun_rank(2, 4))),
               {"launchers torchrun and Open MPI", "torchrun says rank 1 of 2", "RANK=\"1\"",
                "WORLD_SIZE=\"2\"", "Open MPI says rank 2 of 4", "OMPI_COMM_WORLD_RANK=\"2\"",
                "OMPI_COMM_WORLD_SIZE=\"4\"", "unset", "FAKESCORE_LAUNCHER=torchrun",
                "FAKESCORE_LAUNCHER=mpi", "--launcher", "LaunchOverride::launcher"});
}

TEST(Disagreement, IsAboutSizeRankOrLocalRank) {
  const Values slurm = slurm_task(1, 4);
  for (const Values& values : {rank_variables(1, 3), rank_variables(2, 4),
                               merged(rank_variables(1, 4), {{"LOCAL_RANK", "0"}})}) {
    expect_names(config_error(merged(slurm, values)), {"torchrun and Slurm", "disagree"});
  }
  EXPECT_EQ(detect(merged(slurm, merged(rank_variables(1, 4), {{"LOCAL_RANK", "1"}}))).rank, 1);
}

TEST(Disagreement, IsWhatNoRuleExplains) {
  // RANK and WORLD_SIZE of one process, left over beside srun: srun may start torchruns of one
  // rank.
  expect_names(config_error(merged(slurm_task(1, 4), rank_variables(0, 1))),
               {"torchrun and Slurm"});
  expect_names(config_error(merged(slurm_task(1, 4), agent_rank(0, 1, 1))), {"torchrun and Slurm"});
  // Four mpiruns of one rank.
  expect_names(config_error(merged(slurm_task(1, 4), mpirun_rank(0, 1))), {"Open MPI and Slurm"});
  expect_names(config_error(merged(slurm_node(1, 4), mpirun_rank(0, 1))), {"Open MPI and Slurm"});
  // Two mpiruns of two, on one node.
  expect_names(config_error(merged(slurm_task(1, 2), mpirun_rank(1, 4))), {"Open MPI and Slurm"});
  expect_names(config_error(merged(slurm_task(1, 3), agent_rank(1, 4, 2))), {"torchrun and Slurm"});
  expect_names(config_error(merged(rank_variables(0, 4), mpirun_rank(1, 2))),
               {"torchrun and Open MPI"});
  expect_names(config_error(merged({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}}, slurm_task(1, 4))),
               {"PMI and Slurm", "FAKESCORE_LAUNCHER=mpi or FAKESCORE_LAUNCHER=slurm"});
}

TEST(Leftover, IsOneRankOfTorchrunAroundMpirun) {
  for (const Values& around : {Values{{"RANK", "0"}, {"WORLD_SIZE", "1"}}, agent_rank(0, 1, 1)}) {
    expect_passed_over(merged(around, mpirun_rank(2, 4)), Launcher::kOpenMpi, 2, 4,
                       {"torchrun (RANK=\"0\", WORLD_SIZE=\"1\"", "does not count beside Open MPI",
                        "OMPI_COMM_WORLD_RANK=\"2\"", "one rank"});
  }
}

TEST(Leftover, IsOneRankOfMpirunAroundTorchrun) {
  expect_passed_over(merged(agent_rank(3, 4, 1), mpirun_rank(0, 1)), Launcher::kTorchrun, 3, 4,
                     {"Open MPI", "does not count beside torchrun", "one rank"});
}

TEST(Leftover, IsSlurmsBatchScript) {
  const std::vector<std::string> words = {"batch script", "SLURM_NTASKS=\"2\"", "does not count"};
  expect_passed_over(merged(slurm_batch(), mpirun_rank(1, 2)), Launcher::kOpenMpi, 1, 2, words);
  expect_passed_over(merged(slurm_batch(), agent_rank(1, 2, 1)), Launcher::kTorchrun, 1, 2, words);
  expect_passed_over(merged(slurm_batch(), rank_variables(0, 2)), Launcher::kTorchrun, 0, 2, words);
}

TEST(Leftover, IsAStepOfOneTaskAsInAnInteractiveShell) {
  const std::vector<std::string> words = {"Slurm", "SLURM_STEP_NUM_TASKS=\"1\"", "one task"};
  expect_passed_over(merged(slurm_task(0, 1), mpirun_rank(3, 4)), Launcher::kOpenMpi, 3, 4, words);
  expect_passed_over(merged(slurm_task(0, 1), rank_variables(1, 2)), Launcher::kTorchrun, 1, 2,
                     words);
}

TEST(Leftover, IsTheStepOfMpirunsDaemons) {
  expect_passed_over(merged(slurm_node(1, 2), mpirun_rank(5, 8)), Launcher::kOpenMpi, 5, 8,
                     {"Slurm", "SLURM_PROCID=\"1\"", "one task a node"});
}

TEST(Leftover, IsTheStepOfTorchrunsAgents) {
  // The number of an agent need not be that of its task.
  expect_passed_over(merged(slurm_node(0, 2), agent_rank(5, 8, 2)), Launcher::kTorchrun, 5, 8,
                     {"Slurm", "agent"});
}

TEST(Leftover, MayBeOfTwoLaunchers) {
  const LaunchEnv launch =
      detect(merged(merged(slurm_batch(), rank_variables(0, 1)), mpirun_rank(1, 2)));
  expect_job(launch, Launcher::kOpenMpi, 1, 2);
  ASSERT_EQ(launch.notes.size(), 2U);
}

TEST(Leftover, IsPmiOfAnotherStep) {
  const Values pmix = {{"PMIX_RANK", "0"}, {"PMIX_NAMESPACE", "slurm.pmix.4.7"}};
  expect_passed_over(merged(slurm_task(1, 2), pmix), Launcher::kSlurm, 1, 2,
                     {"PMIx", "slurm.pmix.4.7", "step 4.7", "4.0"});
  const Values pmi = {{"PMI_RANK", "0"}, {"PMI_SIZE", "1"}, {"PMI_JOBID", "3.0"}};
  expect_passed_over(merged(slurm_task(1, 2), pmi), Launcher::kSlurm, 1, 2, {"PMI", "step 3.0"});
}

TEST(Leftover, PmixOfMpirunSaysNothingOfItsOwn) {
  const Values values = merged(mpirun_rank(1, 2), {{"PMIX_RANK", "1"}, {"PMIX_NAMESPACE", "17"}});
  expect_job(detect(values), Launcher::kOpenMpi, 1, 2);
  EXPECT_TRUE(detect(values).notes.empty());
  // Nor does it stop torchrun, which some starter of PMIx started without a size.
  expect_job(detect(merged(rank_variables(1, 2), {{"PMIX_RANK", "0"}})), Launcher::kTorchrun, 1, 2);
}

// Open MPI would end the process in MPI_Init.
TEST(Pmi2OfSlurm, GoesOverTheStoreAndSaysWhatToPass) {
  const Values pmi2 = {{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}, {"PMI_JOBID", "4.0"}};
  const Values values = merged(slurm_task(1, 2), pmi2);
  expect_passed_over(values, Launcher::kSlurm, 1, 2, {"PMI_RANK=\"1\"", "store", "--mpi=pmix"});
  EXPECT_EQ(detect(values).master_addr, "localhost");
  const LaunchEnv agents =
      detect(merged(merged(slurm_task(0, 1), agent_rank(3, 4, 1)),
                    {{"PMI_RANK", "0"}, {"PMI_SIZE", "1"}, {"PMI_JOBID", "4.0"}}));
  expect_job(agents, Launcher::kTorchrun, 3, 4);
  EXPECT_EQ(agents.notes.size(), 1U);
}

Values with_choice(const Values& values, const std::string& choice) {
  return merged(values, {{"FAKESCORE_LAUNCHER", choice}});
}

TEST(Choice, LooksAtOneLauncherAlone) {
  const Values all = merged(merged(rank_variables(1, 2), mpirun_rank(2, 4)), slurm_task(4, 6));
  expect_job(detect(with_choice(all, "torchrun")), Launcher::kTorchrun, 1, 2);
  expect_job(detect(with_choice(all, "mpi")), Launcher::kOpenMpi, 2, 4);
  expect_job(detect(with_choice(all, "slurm")), Launcher::kSlurm, 4, 6);
  expect_job(detect(with_choice(all, "none")), Launcher::kSingle, 0, 1);
  for (const std::string choice : {"torchrun", "mpi", "slurm", "none"}) {
    EXPECT_TRUE(detect(with_choice(all, choice)).notes.empty()) << choice;
  }
  expect_names(config_error(with_choice(all, "")), {"disagree"});
  EXPECT_EQ(detect(with_choice(merged(all, {{"RANK", "abc"}}), "mpi")).rank, 2);
}

TEST(Choice, OfMpiIsOpenMpiPmiOrPmix) {
  const Values step = slurm_task(1, 2);
  expect_job(detect(with_choice(merged(step, {{"PMIX_RANK", "1"}}), "mpi")), Launcher::kPmi, 1, 2);
  const Values pmi2 = {{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}, {"PMI_JOBID", "4.0"}};
  expect_job(detect(with_choice(merged(step, pmi2), "mpi")), Launcher::kPmi, 1, 2);
}

TEST(Choice, OfTheCallerWinsOverTheVariable) {
  LaunchOverride override;
  override.launcher = "mpi";
  const Values values = merged(rank_variables(1, 2), mpirun_rank(2, 4));
  expect_job(detect(with_choice(values, "torchrun"), override), Launcher::kOpenMpi, 2, 4);
}

TEST(Choice, OfSlurmInABatchScriptIsOneProcess) {
  expect_job(detect(with_choice(slurm_batch(), "slurm")), Launcher::kSingle, 0, 1);
}

TEST(Choice, NeedsTheVariablesOfThatLauncher) {
  expect_names(config_error(with_choice({}, "torchrun")), {"torchrun", "RANK, WORLD_SIZE"});
  expect_names(config_error(with_choice({}, "mpi")),
               {"mpi", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"});
  expect_names(config_error(with_choice({}, "slurm")), {"slurm", "SLURM_PROCID"});
}

TEST(Choice, IsCheckedAndNamesWhatThereIs) {
  expect_names(config_error(with_choice({}, "openmpi")),
               {"variable FAKESCORE_LAUNCHER", "\"openmpi\"", "torchrun, mpi, slurm or none"});
  LaunchOverride override;
  override.launcher = "";
  expect_names(config_error({}, override), {"option launcher", "\"\""});
  for (const std::string& name : launcher_choices()) {
    EXPECT_NO_THROW(detect(with_choice(
        merged(merged(rank_variables(1, 2), mpirun_rank(1, 2)), slurm_task(1, 2)), name)));
  }
}

TEST(Choice, HasNoEffectWhereTheCallerSetsTheRank) {
  expect_job(detect(with_choice(mpirun_rank(2, 4), "mpi"), rank_of(0, 1)), Launcher::kExplicit, 0,
             1);
}

}  // namespace
}  // namespace fakescore
