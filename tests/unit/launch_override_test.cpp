#include <gtest/gtest.h>

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
using testing::launch::rank_of;
using testing::launch::slurm;
using testing::launch::torchrun;
using testing::launch::Values;

TEST(Override, TakesTheMasterOfTheEnvironmentWhereItHasNone) {
  LaunchOverride override = rank_of(1, 2);
  const Values values = {{"MASTER_ADDR", "node0"}, {"MASTER_PORT", "29500"}};
  LaunchEnv launch = detect(values, override);
  EXPECT_EQ(launch.launcher, Launcher::kExplicit);
  EXPECT_EQ(launch.rank, 1);
  EXPECT_EQ(launch.world_size, 2);
  EXPECT_EQ(launch.local_rank, 1);
  EXPECT_EQ(launch.master_addr, "node0");
  EXPECT_EQ(launch.master_port, 29500);

  override.master_addr = "other";
  override.master_port = 1234;
  override.local_rank = 0;
  launch = detect(values, override);
  EXPECT_EQ(launch.local_rank, 0);
  EXPECT_EQ(launch.master_addr, "other");
  EXPECT_EQ(launch.master_port, 1234);
}

TEST(Override, NeedsAMasterWhereThereAreSeveralProcesses) {
  expect_names(config_error({}, rank_of(0, 2)), {"explicit", "option master_addr", "MASTER_ADDR",
                                                 "option master_port", "MASTER_PORT"});
  EXPECT_EQ(detect({}, rank_of(0, 1)).launcher, Launcher::kExplicit);
}

TEST(Override, NeedsRankAndWorldSizeTogether) {
  LaunchOverride rank_only;
  rank_only.rank = 2;
  expect_names(config_error(torchrun(), rank_only),
               {"option rank", "is 2", "world_size is not set"});
  LaunchOverride size_only;
  size_only.world_size = 4;
  expect_names(config_error(torchrun(), size_only),
               {"option world_size", "is 4", "rank is not set"});
}

TEST(Override, ReplacesWhatALauncherSays) {
  LaunchOverride override;
  override.local_rank = 42;
  override.master_addr = "other";
  override.master_port = 1234;
  for (const Values& values : {torchrun(), open_mpi(), pmi(), pmix(), slurm(), Values{}}) {
    const LaunchEnv launch = detect(values, override);
    EXPECT_EQ(launch.launcher, detect(values).launcher);
    EXPECT_EQ(launch.rank, detect(values).rank);
    EXPECT_EQ(launch.world_size, detect(values).world_size);
    EXPECT_EQ(launch.local_rank, 42);
    EXPECT_EQ(launch.master_addr, "other");
    EXPECT_EQ(launch.master_port, 1234);
  }
}

TEST(Override, StandsInForVariablesThatAreAbsentOrMalformed) {
  LaunchOverride override;
  override.local_rank = 0;
  override.master_addr = "other";
  override.master_port = 1234;
  EXPECT_EQ(detect({{"RANK", "0"}, {"WORLD_SIZE", "2"}}, override).master_port, 1234);
  EXPECT_EQ(detect(merged(torchrun(), {{"MASTER_PORT", "abc"}, {"LOCAL_RANK", "x"}}), override)
                .master_port,
            1234);
}

TEST(Override, ChecksEveryOption) {
  const Values master = {{"MASTER_ADDR", "node0"}, {"MASTER_PORT", "29500"}};
  expect_names(config_error(master, rank_of(2, 2)), {"option rank", "is 2", "world_size is 2"});
  expect_names(config_error(master, rank_of(-1, 2)), {"option rank", "is -1"});
  expect_names(config_error(master, rank_of(0, 0)), {"option world_size", "is 0"});
  for (const int port : {-1, 0, 65536}) {
    LaunchOverride override;
    override.master_port = port;
    expect_names(config_error({}, override),
                 {"option master_port", "is " + std::to_string(port), "from 1 to 65535"});
  }
  LaunchOverride negative;
  negative.local_rank = -1;
  expect_names(config_error({}, negative), {"option local_rank", "is -1"});
  LaunchOverride no_address;
  no_address.master_addr = "";
  expect_names(config_error({}, no_address), {"option master_addr", "\"\""});
}

}  // namespace
}  // namespace fakescore
