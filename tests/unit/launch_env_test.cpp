#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "unit/launch_cases.hpp"

namespace fakescore {
namespace {

using testing::launch::config_error;
using testing::launch::detect;
using testing::launch::expect_names;
using testing::launch::merged;
using testing::launch::open_mpi;
using testing::launch::pmi;
using testing::launch::pmix;
using testing::launch::torchrun;
using testing::launch::Values;
using testing::launch::without;

TEST(LaunchEnv, IsASingleProcessWithoutALauncher) {
  const LaunchEnv launch = detect({});
  EXPECT_EQ(launch.launcher, Launcher::kSingle);
  EXPECT_EQ(launch.rank, 0);
  EXPECT_EQ(launch.world_size, 1);
  EXPECT_EQ(launch.local_rank, 0);
  EXPECT_EQ(launch.master_addr, "");
  EXPECT_EQ(launch.master_port, 0);
  EXPECT_FALSE(launch.agent_hosts_store);
  EXPECT_EQ(launch.key_prefix, "");
}

TEST(LaunchEnv, NamesEveryLauncher) {
  EXPECT_STREQ(to_string(Launcher::kExplicit), "explicit");
  EXPECT_STREQ(to_string(Launcher::kTorchrun), "torchrun");
  EXPECT_STREQ(to_string(Launcher::kOpenMpi), "Open MPI");
  EXPECT_STREQ(to_string(Launcher::kPmi), "PMI");
  EXPECT_STREQ(to_string(Launcher::kSlurm), "Slurm");
  EXPECT_STREQ(to_string(Launcher::kSingle), "single process");
}

TEST(LaunchEnv, ReadsTheProcessEnvironment) {
  const std::string name = "FAKESCORE_LAUNCH_ENV_TEST";
  const Environment environment = process_environment();
  EXPECT_EQ(environment(name), std::nullopt);
  ASSERT_EQ(setenv(name.c_str(), "", 1), 0);
  EXPECT_EQ(environment(name), "");
  ASSERT_EQ(setenv(name.c_str(), "value", 1), 0);
  EXPECT_EQ(environment(name), "value");
  ASSERT_EQ(unsetenv(name.c_str()), 0);
  EXPECT_EQ(environment(name), std::nullopt);
}

TEST(Torchrun, GivesRankSizeAndStore) {
  const LaunchEnv launch = detect(torchrun());
  EXPECT_EQ(launch.launcher, Launcher::kTorchrun);
  EXPECT_EQ(launch.rank, 5);
  EXPECT_EQ(launch.world_size, 8);
  EXPECT_EQ(launch.local_rank, 1);
  EXPECT_EQ(launch.master_addr, "node0");
  EXPECT_EQ(launch.master_port, 29500);
  EXPECT_FALSE(launch.agent_hosts_store);
  EXPECT_EQ(launch.key_prefix, "");
}

TEST(Torchrun, TakesTheRankWhereLocalRankIsAbsent) {
  EXPECT_EQ(detect(without(torchrun(), "LOCAL_RANK")).local_rank, 5);
}

TEST(Torchrun, SaysWhetherTheAgentHostsTheStore) {
  const auto hosted_by_agent = [](const std::string& value) {
    return detect(merged(torchrun(), {{"TORCHELASTIC_USE_AGENT_STORE", value}})).agent_hosts_store;
  };
  EXPECT_TRUE(hosted_by_agent("True"));
  EXPECT_FALSE(hosted_by_agent("False"));
  EXPECT_FALSE(hosted_by_agent(""));
}

TEST(Torchrun, SeparatesRunsAndRestarts) {
  const auto prefix = [](const Values& values) {
    return detect(merged(torchrun(), values)).key_prefix;
  };
  const std::string run = "TORCHELASTIC_RUN_ID";
  const std::string restart = "TORCHELASTIC_RESTART_COUNT";
  EXPECT_EQ(prefix({{run, "job7"}, {restart, "2"}}), "job7/2");
  EXPECT_EQ(prefix({{run, ""}, {restart, ""}}), "default/0");
  EXPECT_EQ(prefix({{run, "job7"}}), "job7/0");
  EXPECT_EQ(prefix({{restart, "3"}}), "default/3");
}

TEST(Torchrun, NeedsRankAndWorldSizeTogether) {
  expect_names(config_error({{"RANK", "2"}}), {"variable RANK", "\"2\"", "WORLD_SIZE is not set"});
  expect_names(config_error({{"WORLD_SIZE", "4"}}),
               {"variable WORLD_SIZE", "\"4\"", "RANK is not set"});
}

TEST(Torchrun, NeedsAMasterWhereThereAreSeveralProcesses) {
  expect_names(config_error(without(torchrun(), "MASTER_ADDR")),
               {"torchrun", "no master address", "MASTER_ADDR"});
  expect_names(config_error(merged(torchrun(), {{"MASTER_ADDR", ""}})), {"no master address"});
  expect_names(config_error(without(torchrun(), "MASTER_PORT")),
               {"torchrun", "no master port", "MASTER_PORT"});
  expect_names(config_error({{"RANK", "0"}, {"WORLD_SIZE", "2"}}),
               {"no master address and no master port"});

  const LaunchEnv alone = detect({{"RANK", "0"}, {"WORLD_SIZE", "1"}});
  EXPECT_EQ(alone.launcher, Launcher::kTorchrun);
  EXPECT_EQ(alone.master_addr, "");
  EXPECT_EQ(alone.master_port, 0);
}

TEST(OpenMpi, GivesRankAndSizeWithoutAStore) {
  const LaunchEnv launch =
      detect(merged(open_mpi(), {{"MASTER_ADDR", "node0"}, {"MASTER_PORT", "29500"}}));
  EXPECT_EQ(launch.launcher, Launcher::kOpenMpi);
  EXPECT_EQ(launch.rank, 6);
  EXPECT_EQ(launch.world_size, 9);
  EXPECT_EQ(launch.local_rank, 2);
  EXPECT_EQ(launch.master_addr, "");
  EXPECT_EQ(launch.master_port, 0);
  EXPECT_EQ(launch.key_prefix, "");
}

TEST(OpenMpi, NeedsRankAndSizeTogether) {
  expect_names(config_error(without(open_mpi(), "OMPI_COMM_WORLD_SIZE")),
               {"variable OMPI_COMM_WORLD_RANK", "\"6\"", "OMPI_COMM_WORLD_SIZE is not set"});
  expect_names(config_error(without(open_mpi(), "OMPI_COMM_WORLD_RANK")),
               {"variable OMPI_COMM_WORLD_SIZE", "\"9\"", "OMPI_COMM_WORLD_RANK is not set"});
}

TEST(Pmi, GivesRankAndSize) {
  const LaunchEnv launch = detect(pmi());
  EXPECT_EQ(launch.launcher, Launcher::kPmi);
  EXPECT_EQ(launch.rank, 7);
  EXPECT_EQ(launch.world_size, 10);
  EXPECT_EQ(launch.local_rank, 3);
  EXPECT_EQ(launch.master_addr, "");
}

TEST(Pmi, TakesSlurmsLocalRankWhereItHasNone) {
  Values values = without(pmi(), "MPI_LOCALRANKID");
  EXPECT_EQ(detect(values).local_rank, 7);
  values["SLURM_LOCALID"] = "2";
  EXPECT_EQ(detect(values).local_rank, 2);
}

TEST(Pmi, NeedsRankAndSizeTogether) {
  expect_names(config_error(without(pmi(), "PMI_SIZE")),
               {"variable PMI_RANK", "\"7\"", "PMI_SIZE is not set"});
  expect_names(config_error(without(pmi(), "PMI_RANK")),
               {"variable PMI_SIZE", "\"10\"", "PMI_RANK is not set"});
}

TEST(Pmix, TakesTheSizeFromSlurm) {
  const LaunchEnv launch = detect(pmix());
  EXPECT_EQ(launch.launcher, Launcher::kPmi);
  EXPECT_EQ(launch.rank, 4);
  EXPECT_EQ(launch.world_size, 11);
  EXPECT_EQ(launch.local_rank, 0);
  EXPECT_EQ(detect(merged(pmix(), {{"SLURM_NTASKS", "16"}})).world_size, 11);
  EXPECT_EQ(detect({{"PMIX_RANK", "4"}, {"SLURM_NTASKS", "16"}}).world_size, 16);
}

TEST(Pmix, NeedsASize) {
  expect_names(config_error({{"PMIX_RANK", "4"}}),
               {"variable PMIX_RANK", "\"4\"", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"});
}

}  // namespace
}  // namespace fakescore
