#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "fakescore/comm/launch_env.hpp"
#include "fakescore/error.hpp"

// Environments of launchers, and what is found in them.
namespace fakescore::testing::launch {

using Values = std::map<std::string, std::string>;

inline Environment environment_of(Values values) {
  return [values = std::move(values)](const std::string& name) -> std::optional<std::string> {
    const auto found = values.find(name);
    if (found == values.end()) return std::nullopt;
    return found->second;
  };
}

inline LaunchEnv detect(const Values& values, const LaunchOverride& override = {}) {
  return detect_launch_env(environment_of(values), override);
}

/// What the ConfigError says; a failure of the test where none is thrown.
inline std::string config_error(const Values& values, const LaunchOverride& override = {}) {
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

inline void expect_names(const std::string& message, const std::vector<std::string>& words) {
  for (const std::string& word : words) {
    EXPECT_NE(message.find(word), std::string::npos) << "\"" << word << "\" in: " << message;
  }
}

inline Values merged(Values values, const Values& more) {
  for (const auto& [name, value] : more) values[name] = value;
  return values;
}

inline Values without(Values values, const std::string& name) {
  values.erase(name);
  return values;
}

// Every launcher has its own world size, so that the precedence tests see which one was read.
inline Values torchrun() {
  return {{"RANK", "5"},
          {"WORLD_SIZE", "8"},
          {"LOCAL_RANK", "1"},
          {"MASTER_ADDR", "node0"},
          {"MASTER_PORT", "29500"}};
}

inline Values open_mpi() {
  return {{"OMPI_COMM_WORLD_RANK", "6"},
          {"OMPI_COMM_WORLD_SIZE", "9"},
          {"OMPI_COMM_WORLD_LOCAL_RANK", "2"}};
}

inline Values pmi() { return {{"PMI_RANK", "7"}, {"PMI_SIZE", "10"}, {"MPI_LOCALRANKID", "3"}}; }

inline Values pmix() {
  return {{"PMIX_RANK", "4"}, {"SLURM_STEP_NUM_TASKS", "11"}, {"SLURM_LOCALID", "0"}};
}

inline Values slurm() {
  return {{"SLURM_PROCID", "3"},
          {"SLURM_STEP_NUM_TASKS", "12"},
          {"SLURM_NTASKS", "16"},
          {"SLURM_LOCALID", "1"},
          {"SLURM_STEP_NODELIST", "gpu[003-010,12]"},
          {"SLURM_JOB_NODELIST", "gpu[001-010,12]"},
          {"SLURM_JOB_ID", "123456"},
          {"SLURM_STEP_ID", "7"}};
}

/// Those of a real script of sbatch -n 2 that matter.
inline Values slurm_batch() {
  return {{"SLURM_PROCID", "0"},
          {"SLURM_NTASKS", "2"},
          {"SLURM_LOCALID", "0"},
          {"SLURM_NODEID", "0"},
          {"SLURM_GTIDS", "0"},
          {"SLURM_JOB_ID", "4"},
          {"SLURM_JOB_NODELIST", "localhost"},
          {"SLURM_NNODES", "1"}};
}

/// A task of a step of Slurm's, on one node.
inline Values slurm_task(int rank, int tasks) {
  return merged(slurm_batch(), {{"SLURM_PROCID", std::to_string(rank)},
                                {"SLURM_LOCALID", std::to_string(rank)},
                                {"SLURM_STEP_ID", "0"},
                                {"SLURM_STEP_NUM_TASKS", std::to_string(tasks)},
                                {"SLURM_STEP_NUM_NODES", "1"},
                                {"SLURM_STEP_NODELIST", "localhost"},
                                {"SLURM_STEP_TASKS_PER_NODE", std::to_string(tasks)},
                                {"SLURM_GTIDS", tasks == 1 ? "0" : "0,1"}});
}

/// The task on node `rank` of a step of Slurm's with one a node.
inline Values slurm_node(int rank, int nodes) {
  return merged(slurm_task(rank, nodes),
                {{"SLURM_LOCALID", "0"},
                 {"SLURM_NODEID", std::to_string(rank)},
                 {"SLURM_STEP_NUM_NODES", std::to_string(nodes)},
                 {"SLURM_STEP_TASKS_PER_NODE", "1(x" + std::to_string(nodes) + ")"},
                 {"SLURM_GTIDS", std::to_string(rank)}});
}

inline Values mpirun_rank(int rank, int size) {
  return {{"OMPI_COMM_WORLD_RANK", std::to_string(rank)},
          {"OMPI_COMM_WORLD_SIZE", std::to_string(size)},
          {"OMPI_COMM_WORLD_LOCAL_RANK", std::to_string(rank)}};
}

/// As set by hand, or by torchrun where more is added.
inline Values rank_variables(int rank, int size) {
  return {{"RANK", std::to_string(rank)},
          {"WORLD_SIZE", std::to_string(size)},
          {"MASTER_ADDR", "node0"},
          {"MASTER_PORT", "29500"}};
}

/// A rank that torchrun's agents started, one a host.
inline Values agent_rank(int rank, int size, int agents) {
  return merged(rank_variables(rank, size), {{"LOCAL_RANK", std::to_string(rank % (size / agents))},
                                             {"GROUP_WORLD_SIZE", std::to_string(agents)},
                                             {"TORCHELASTIC_RUN_ID", "job7"},
                                             {"TORCHELASTIC_RESTART_COUNT", "0"}});
}

inline LaunchOverride rank_of(int rank, int world_size) {
  LaunchOverride override;
  override.rank = rank;
  override.world_size = world_size;
  return override;
}

}  // namespace fakescore::testing::launch
