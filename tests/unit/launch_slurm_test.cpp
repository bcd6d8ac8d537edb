#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <ostream>
#include <string>

#include "unit/launch_cases.hpp"

namespace fakescore {
namespace {

using testing::launch::config_error;
using testing::launch::detect;
using testing::launch::expect_names;
using testing::launch::merged;
using testing::launch::slurm;
using testing::launch::slurm_batch;
using testing::launch::Values;
using testing::launch::without;

TEST(Slurm, GivesRankSizeAndStore) {
  const LaunchEnv launch = detect(slurm());
  EXPECT_EQ(launch.launcher, Launcher::kSlurm);
  EXPECT_EQ(launch.rank, 3);
  EXPECT_EQ(launch.world_size, 12);
  EXPECT_EQ(launch.local_rank, 1);
  EXPECT_EQ(launch.master_addr, "gpu003");
  EXPECT_EQ(launch.master_port, 20000 + (123456 + 7 * 1031) % 8000);
  EXPECT_TRUE(launch.port_follows_job);
  EXPECT_EQ(launch.key_prefix, "slurm/123456.7");
  EXPECT_FALSE(launch.agent_hosts_store);
}

TEST(Slurm, TakesTheTasksOfTheJobWhereTheStepHasNone) {
  EXPECT_EQ(detect(without(slurm(), "SLURM_STEP_NUM_TASKS")).world_size, 16);
  expect_names(config_error({{"SLURM_PROCID", "3"}}),
               {"variable SLURM_PROCID", "\"3\"", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"});
}

TEST(Slurm, IsNoLauncherInAShellOfSalloc) {
  EXPECT_EQ(detect(without(slurm(), "SLURM_PROCID")).launcher, Launcher::kSingle);
  EXPECT_EQ(detect({{"SLURM_NTASKS", "16"}}).world_size, 1);
}

TEST(Slurm, PrefersTheMasterThatIsNamed) {
  Values values = without(slurm(), "SLURM_STEP_NODELIST");
  values["SLURM_LAUNCH_NODE_IPADDR"] = "10.0.0.1";
  EXPECT_EQ(detect(values).master_addr, "gpu001");
  values["SLURM_STEP_NODELIST"] = "gpu[003-010]";
  EXPECT_EQ(detect(values).master_addr, "gpu003");
  EXPECT_EQ(
      detect(without(without(values, "SLURM_STEP_NODELIST"), "SLURM_JOB_NODELIST")).master_addr,
      "10.0.0.1");
  values["MASTER_ADDR"] = "node0";
  EXPECT_EQ(detect(values).master_addr, "node0");
  values["MASTER_PORT"] = "29500";
  EXPECT_EQ(detect(values).master_port, 29500);
}

TEST(Slurm, NeedsAMasterWhereThereAreSeveralProcesses) {
  expect_names(
      config_error({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "2"}}),
      {"Slurm", "no master address and no master port", "MASTER_ADDR", "MASTER_PORT",
       "SLURM_LAUNCH_NODE_IPADDR", "SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_JOB_ID"});
  expect_names(config_error(without(slurm(), "SLURM_JOB_ID")), {"no master port", "SLURM_JOB_ID"});
  EXPECT_EQ(detect({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "1"}}).launcher, Launcher::kSlurm);
}

TEST(Slurm, HasAPrefixWithoutAStepAndNoneWithoutAJob) {
  EXPECT_EQ(detect(without(slurm(), "SLURM_STEP_ID")).key_prefix, "slurm/123456");
  const Values no_job = merged(without(slurm(), "SLURM_JOB_ID"), {{"MASTER_PORT", "29500"}});
  EXPECT_EQ(detect(no_job).key_prefix, "");
}

TEST(Slurm, TellsARequeuedJobFromItsFirstTry) {
  EXPECT_EQ(detect(merged(slurm(), {{"SLURM_RESTART_COUNT", "2"}})).key_prefix, "slurm/123456.7/2");
  EXPECT_EQ(detect(merged(slurm(), {{"SLURM_RESTART_COUNT", "0"}})).key_prefix, "slurm/123456.7");
}

int port_of(int64_t job, int64_t step) {
  return detect(merged(slurm(), {{"SLURM_JOB_ID", std::to_string(job)},
                                 {"SLURM_STEP_ID", std::to_string(step)}}))
      .master_port;
}

TEST(SlurmPort, LiesBelowThePortsOfOutgoingConnections) {
  for (const int64_t job : {int64_t{0}, int64_t{7999}, int64_t{8000}, int64_t{19999},
                            int64_t{67108863}, std::numeric_limits<int64_t>::max()}) {
    for (const int64_t step : {int64_t{0}, int64_t{1}, int64_t{4294967290}}) {
      const int port = port_of(job, step);
      EXPECT_GE(port, 20000) << job << "." << step;
      EXPECT_LT(port, 28000) << job << "." << step;
    }
  }
}

TEST(SlurmPort, DiffersBetweenNeighbours) {
  EXPECT_NE(port_of(100, 0), port_of(101, 0));
  EXPECT_NE(port_of(100, 0), port_of(100, 1));
  EXPECT_NE(port_of(100, 1), port_of(101, 0));
}

TEST(SlurmPort, IsNotTheJobsWhereItIsNamed) {
  EXPECT_FALSE(detect(merged(slurm(), {{"MASTER_PORT", "29500"}})).port_follows_job);
  LaunchOverride override;
  override.master_port = 1234;
  EXPECT_FALSE(detect(slurm(), override).port_follows_job);
}

TEST(SlurmBatchScript, IsOneProcessAndIsToldSo) {
  const LaunchEnv launch = detect(slurm_batch());
  EXPECT_EQ(launch.launcher, Launcher::kSingle);
  EXPECT_EQ(launch.rank, 0);
  EXPECT_EQ(launch.world_size, 1);
  ASSERT_EQ(launch.notes.size(), 1U);
  expect_names(launch.notes[0], {"batch script", "SLURM_NTASKS=\"2\"", "one process", "srun"});
}

TEST(SlurmBatchScript, IsToldNothingWhereItsJobHasOneTask) {
  for (const Values& values :
       {merged(slurm_batch(), {{"SLURM_NTASKS", "1"}}), without(slurm_batch(), "SLURM_NTASKS")}) {
    EXPECT_EQ(detect(values).launcher, Launcher::kSingle);
    EXPECT_TRUE(detect(values).notes.empty());
  }
}

TEST(SlurmBatchScript, IsNoTaskOfSrunInIt) {
  const Values task = merged(slurm_batch(), {{"SLURM_STEP_ID", "0"},
                                             {"SLURM_STEP_NUM_TASKS", "2"},
                                             {"SLURM_STEP_TASKS_PER_NODE", "2"},
                                             {"SLURM_GTIDS", "0,1"}});
  EXPECT_EQ(detect(task).launcher, Launcher::kSlurm);
  EXPECT_EQ(detect(task).world_size, 2);
  EXPECT_TRUE(detect(task).notes.empty());
}

// Each of them, since older versions of Slurm and wrappers set fewer.
TEST(SlurmBatchScript, IsToldFromATaskByAnyVariableOfTheStep) {
  for (const char* name : {"SLURM_STEP_ID", "SLURM_STEPID", "SLURM_STEP_NUM_TASKS",
                           "SLURM_SRUN_COMM_HOST", "SLURM_LAUNCH_NODE_IPADDR"}) {
    const Values task = merged(slurm_batch(), {{name, "2"}});
    EXPECT_EQ(detect(task).launcher, Launcher::kSlurm) << name;
  }
}

// sbatch, called in a task of srun, passes the variables of that task's step on.
TEST(SlurmBatchScript, MayHaveTheVariablesOfTheStepThatSubmittedIt) {
  const Values passed_on = {{"SLURM_STEP_ID", "0"},
                            {"SLURM_STEPID", "0"},
                            {"SLURM_STEP_NUM_TASKS", "2"},
                            {"SLURM_STEP_NUM_NODES", "1"},
                            {"SLURM_STEP_NODELIST", "localhost"},
                            {"SLURM_LAUNCH_NODE_IPADDR", "127.0.0.1"},
                            {"SLURM_SRUN_COMM_HOST", "127.0.0.1"}};
  for (const char* tasks : {"2", "2,1", "4(x2)", "12"}) {
    const Values values =
        merged(merged(slurm_batch(), passed_on), {{"SLURM_STEP_TASKS_PER_NODE", tasks}});
    EXPECT_EQ(detect(values).launcher, Launcher::kSingle) << tasks;
  }
  // There task 0 is alone on its node in both.
  for (const char* tasks : {"1", "1(x2)", "1,2"}) {
    const Values values =
        merged(merged(slurm_batch(), passed_on), {{"SLURM_STEP_TASKS_PER_NODE", tasks}});
    EXPECT_EQ(detect(values).launcher, Launcher::kSlurm) << tasks;
  }
}

// As in a test of one's own, where no slurmd set the rest.
TEST(SlurmBatchScript, IsNotWhatWasSetByHand) {
  const Values by_hand = {{"SLURM_PROCID", "0"},
                          {"SLURM_NTASKS", "2"},
                          {"SLURM_JOB_ID", "19999"},
                          {"SLURM_JOB_NODELIST", "localhost"}};
  EXPECT_EQ(detect(by_hand).launcher, Launcher::kSlurm);
  EXPECT_EQ(detect(by_hand).world_size, 2);
}

struct NodeList {
  std::string name;
  std::string list;
  std::string host;
};

void PrintTo(const NodeList& nodes, std::ostream* stream) { *stream << nodes.list; }

class FirstHost : public ::testing::TestWithParam<NodeList> {};

TEST_P(FirstHost, IsTheMaster) {
  const Values values = merged(slurm(), {{"SLURM_STEP_NODELIST", GetParam().list}});
  EXPECT_EQ(detect(values).master_addr, GetParam().host);
}

INSTANTIATE_TEST_SUITE_P(
    NodeLists, FirstHost,
    ::testing::Values(NodeList{"OneHost", "gpu7", "gpu7"}, NodeList{"TwoHosts", "a,b", "a"},
                      NodeList{"Range", "gpu[003-010,12]", "gpu003"},
                      NodeList{"Numbers", "gpu[12,3-5]", "gpu12"},
                      NodeList{"OneNumber", "gpu[8]", "gpu8"},
                      NodeList{"HostThenRange", "login-1,gpu[1-2]", "login-1"},
                      NodeList{"RangeThenHost", "gpu[1-2],login", "gpu1"},
                      NodeList{"Suffix", "gpu[1-2]-ib.local,b", "gpu1-ib.local"},
                      NodeList{"TwoRanges", "rack[2-3]node[05,07]", "rack2node05"}),
    [](const ::testing::TestParamInfo<NodeList>& test) { return test.param.name; });

class MalformedNodeList : public ::testing::TestWithParam<NodeList> {};

TEST_P(MalformedNodeList, IsAConfigError) {
  const Values values = merged(slurm(), {{"SLURM_STEP_NODELIST", GetParam().list}});
  expect_names(config_error(values),
               {"variable SLURM_STEP_NODELIST", "\"" + GetParam().list + "\"", "MASTER_ADDR"});
}

INSTANTIATE_TEST_SUITE_P(
    NodeLists, MalformedNodeList,
    ::testing::Values(NodeList{"Unclosed", "gpu[003-010", ""}, NodeList{"Unopened", "gpu3]", ""},
                      NodeList{"NothingInside", "gpu[]", ""}, NodeList{"NoFirst", "gpu[,3]", ""},
                      NodeList{"NoHost", ",b", ""}),
    [](const ::testing::TestParamInfo<NodeList>& test) { return test.param.name; });

}  // namespace
}  // namespace fakescore
