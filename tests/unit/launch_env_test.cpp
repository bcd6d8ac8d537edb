#include "fakescore/comm/launch_env.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "fakescore/core/error.hpp"

namespace fakescore {
namespace {

using Values = std::map<std::string, std::string>;

Environment environment_of(Values values) {
  return [values = std::move(values)](const std::string& name) -> std::optional<std::string> {
    const auto found = values.find(name);
    if (found == values.end()) return std::nullopt;
    return found->second;
  };
}

LaunchEnv detect(const Values& values, const LaunchOverride& override = {}) {
  return detect_launch_env(environment_of(values), override);
}

/// What the ConfigError says; a failure of the test where none is thrown.
std::string config_error(const Values& values, const LaunchOverride& override = {}) {
  try {
    detect(values, override);
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.info().phase, "launch");
    EXPECT_EQ(error.rank(), -1);
    EXPECT_FALSE(error.info().remedy.empty());
    return error.what();
  }
  ADD_FAILURE() << "no ConfigError";
  return "";
}

void expect_names(const std::string& message, const std::vector<std::string>& words) {
  for (const std::string& word : words) {
    EXPECT_NE(message.find(word), std::string::npos) << "\"" << word << "\" in: " << message;
  }
}

Values merged(Values values, const Values& more) {
  for (const auto& [name, value] : more) values[name] = value;
  return values;
}

Values without(Values values, const std::string& name) {
  values.erase(name);
  return values;
}

// Every launcher has its own world size, so that the precedence tests see which one was read.
Values torchrun() {
  return {{"RANK", "5"},
          {"WORLD_SIZE", "8"},
          {"LOCAL_RANK", "1"},
          {"MASTER_ADDR", "node0"},
          {"MASTER_PORT", "29500"}};
}

Values open_mpi() {
  return {{"OMPI_COMM_WORLD_RANK", "6"},
          {"OMPI_COMM_WORLD_SIZE", "9"},
          {"OMPI_COMM_WORLD_LOCAL_RANK", "2"}};
}

Values pmi() { return {{"PMI_RANK", "7"}, {"PMI_SIZE", "10"}, {"MPI_LOCALRANKID", "3"}}; }

Values pmix() {
  return {{"PMIX_RANK", "4"}, {"SLURM_STEP_NUM_TASKS", "11"}, {"SLURM_LOCALID", "0"}};
}

Values slurm() {
  return {{"SLURM_PROCID", "3"},
          {"SLURM_STEP_NUM_TASKS", "12"},
          {"SLURM_NTASKS", "16"},
          {"SLURM_LOCALID", "1"},
          {"SLURM_STEP_NODELIST", "gpu[003-010,12]"},
          {"SLURM_JOB_NODELIST", "gpu[001-010,12]"},
          {"SLURM_JOB_ID", "123456"},
          {"SLURM_STEP_ID", "7"}};
}

LaunchOverride rank_of(int rank, int world_size) {
  LaunchOverride override;
  override.rank = rank;
  override.world_size = world_size;
  return override;
}

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

TEST(Slurm, GivesRankSizeAndStore) {
  const LaunchEnv launch = detect(slurm());
  EXPECT_EQ(launch.launcher, Launcher::kSlurm);
  EXPECT_EQ(launch.rank, 3);
  EXPECT_EQ(launch.world_size, 12);
  EXPECT_EQ(launch.local_rank, 1);
  EXPECT_EQ(launch.master_addr, "gpu003");
  EXPECT_EQ(launch.master_port, 20000 + 123456 % 20000);
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
    [](const ::testing::TestParamInfo<NodeList>& info) { return info.param.name; });

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
    [](const ::testing::TestParamInfo<NodeList>& info) { return info.param.name; });

TEST(Precedence, IsTorchrunOpenMpiPmiSlurm) {
  Values values = slurm();
  EXPECT_EQ(detect(values).launcher, Launcher::kSlurm);
  EXPECT_EQ(detect(values).world_size, 12);
  values = merged(values, {{"PMIX_RANK", "4"}});
  EXPECT_EQ(detect(values).launcher, Launcher::kPmi);
  EXPECT_EQ(detect(values).rank, 4);
  values = merged(values, pmi());
  EXPECT_EQ(detect(values).launcher, Launcher::kPmi);
  EXPECT_EQ(detect(values).world_size, 10);
  values = merged(values, open_mpi());
  EXPECT_EQ(detect(values).launcher, Launcher::kOpenMpi);
  EXPECT_EQ(detect(values).world_size, 9);
  values = merged(values, torchrun());
  EXPECT_EQ(detect(values).launcher, Launcher::kTorchrun);
  EXPECT_EQ(detect(values).world_size, 8);
  EXPECT_EQ(detect(values, rank_of(1, 3)).launcher, Launcher::kExplicit);
  EXPECT_EQ(detect(values, rank_of(1, 3)).world_size, 3);
}

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

struct Source {
  std::string name;
  Values values;
  std::string variable;
};

struct BadValue {
  std::string name;
  std::string value;
};

struct Malformed {
  std::string name;
  Values values;
  std::string variable;
  std::string value;
};

void PrintTo(const Malformed& malformed, std::ostream* stream) {
  *stream << malformed.variable << "=\"" << malformed.value << "\"";
}

const std::vector<BadValue>& not_numbers() {
  static const std::vector<BadValue> values = {
      {"Word", "abc"},        {"Empty", ""},
      {"Trailing", "1x"},     {"Negative", "-1"},
      {"Plus", "+1"},         {"SpaceBefore", " 1"},
      {"SpaceAfter", "1 "},   {"Fraction", "1.0"},
      {"Hexadecimal", "0x1"}, {"TooLarge", "99999999999999999999"}};
  return values;
}

void add(std::vector<Malformed>& table, const Source& source, const std::vector<BadValue>& bad) {
  for (const BadValue& value : bad) {
    table.push_back({source.name + "_" + source.variable + "_" + value.name,
                     merged(source.values, {{source.variable, value.value}}), source.variable,
                     value.value});
  }
}

std::vector<Malformed> malformed_values() {
  const std::vector<Source> ranks = {{"Torchrun", torchrun(), "RANK"},
                                     {"OpenMpi", open_mpi(), "OMPI_COMM_WORLD_RANK"},
                                     {"Pmi", pmi(), "PMI_RANK"},
                                     {"Pmix", pmix(), "PMIX_RANK"},
                                     {"Slurm", slurm(), "SLURM_PROCID"}};
  const std::vector<Source> sizes = {
      {"Torchrun", torchrun(), "WORLD_SIZE"},
      {"OpenMpi", open_mpi(), "OMPI_COMM_WORLD_SIZE"},
      {"Pmi", pmi(), "PMI_SIZE"},
      {"Pmix", pmix(), "SLURM_STEP_NUM_TASKS"},
      {"PmixJob", without(pmix(), "SLURM_STEP_NUM_TASKS"), "SLURM_NTASKS"},
      {"Slurm", slurm(), "SLURM_STEP_NUM_TASKS"},
      {"SlurmJob", without(slurm(), "SLURM_STEP_NUM_TASKS"), "SLURM_NTASKS"}};
  const std::vector<Source> local_ranks = {{"Torchrun", torchrun(), "LOCAL_RANK"},
                                           {"OpenMpi", open_mpi(), "OMPI_COMM_WORLD_LOCAL_RANK"},
                                           {"Pmi", pmi(), "MPI_LOCALRANKID"},
                                           {"Pmix", pmix(), "SLURM_LOCALID"},
                                           {"Slurm", slurm(), "SLURM_LOCALID"}};
  const std::vector<Source> ports = {{"Torchrun", torchrun(), "MASTER_PORT"},
                                     {"Slurm", slurm(), "MASTER_PORT"}};

  const std::vector<BadValue> beyond_int = {{"BeyondInt", "2147483648"}};
  std::vector<Malformed> table;
  for (const auto* sources : {&ranks, &sizes, &local_ranks, &ports}) {
    for (const Source& source : *sources) {
      add(table, source, not_numbers());
      add(table, source, beyond_int);
    }
  }
  for (const Source& source : ranks) add(table, source, {{"NotBelowSize", "12"}});
  for (const Source& source : sizes) add(table, source, {{"Zero", "0"}});
  for (const Source& source : ports) {
    add(table, source, {{"Zero", "0"}, {"BeyondLastPort", "65536"}});
  }
  add(table, {"Slurm", slurm(), "SLURM_JOB_ID"}, not_numbers());
  return table;
}

class MalformedVariable : public ::testing::TestWithParam<Malformed> {};

TEST_P(MalformedVariable, IsNamedWithItsValue) {
  const std::string message = config_error(GetParam().values);
  expect_names(message, {"variable " + GetParam().variable, "is \"" + GetParam().value + "\""});
}

INSTANTIATE_TEST_SUITE_P(Table, MalformedVariable, ::testing::ValuesIn(malformed_values()),
                         [](const ::testing::TestParamInfo<Malformed>& info) {
                           return info.param.name;
                         });

TEST(VariableBounds, AreSaidInTheMessage) {
  expect_names(config_error(merged(torchrun(), {{"RANK", "abc"}})),
               {"launch", "variable RANK", "is \"abc\", not a number from 0"});
  expect_names(config_error(merged(torchrun(), {{"WORLD_SIZE", "0"}})),
               {"variable WORLD_SIZE", "is \"0\", not a number from 1"});
  expect_names(config_error(merged(torchrun(), {{"MASTER_PORT", "65536"}})),
               {"variable MASTER_PORT", "is \"65536\", not a number from 1 to 65535"});
  expect_names(config_error(merged(torchrun(), {{"RANK", "8"}})),
               {"variable RANK", "is \"8\", but WORLD_SIZE is \"8\""});
}

TEST(VariableBounds, AreAllowedThemselves) {
  EXPECT_EQ(detect(merged(torchrun(), {{"RANK", "7"}})).rank, 7);
  EXPECT_EQ(detect(merged(torchrun(), {{"MASTER_PORT", "1"}})).master_port, 1);
  EXPECT_EQ(detect(merged(torchrun(), {{"MASTER_PORT", "65535"}})).master_port, 65535);
}

}  // namespace
}  // namespace fakescore
