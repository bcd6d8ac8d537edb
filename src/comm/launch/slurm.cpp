#include <limits>

#include "comm/launch/job_port.hpp"
#include "comm/launch/launchers.hpp"
#include "comm/launch/slurm_nodes.hpp"

namespace fakescore::detail {
namespace {

constexpr int64_t kLargestId = std::numeric_limits<int64_t>::max();

/// What srun gives its tasks and a batch script lacks.
const std::vector<std::string>& step_variables() {
  static const std::vector<std::string> names = {
      "SLURM_STEP_ID",       "SLURM_STEPID",         "SLURM_STEP_NUM_TASKS",
      "SLURM_STEP_NODELIST", "SLURM_SRUN_COMM_HOST", "SLURM_LAUNCH_NODE_IPADDR"};
  return names;
}

/// Whether the step's variables are those of the step in which sbatch was called: sbatch passes
/// them on. Slurm then says that task 0 is alone on its node, where that step had several.
bool has_stale_step(const LaunchVariables& variables) {
  const auto tasks_here = variables.find("SLURM_STEP_TASKS_PER_NODE");
  return variables.find("SLURM_GTIDS") == "0" && tasks_here && *tasks_here != "1" &&
         tasks_here->rfind("1(", 0) != 0 && tasks_here->rfind("1,", 0) != 0;
}

/// Slurm sets SLURM_NODEID for whatever it starts: where it is absent, a rank was given by hand.
bool is_batch_script(const LaunchVariables& variables) {
  if (variables.find("SLURM_PROCID") != "0" || !variables.has("SLURM_NODEID")) return false;
  return !variables.has_any(step_variables()) || has_stale_step(variables);
}

LaunchClaim batch_claim(const LaunchVariables& variables) {
  LaunchClaim claim;
  claim.launcher = Launcher::kSingle;
  claim.kind = LaunchClaim::Kind::kSlurmBatch;
  claim.name = "Slurm's batch script";
  claim.variables = variables.describe({"SLURM_PROCID", "SLURM_NTASKS", "SLURM_JOB_ID"});
  return claim;
}

bool has_one_task_a_node(const LaunchVariables& variables, int tasks) {
  for (const std::string name : {"SLURM_STEP_NUM_NODES", "SLURM_NNODES"}) {
    if (const auto nodes = variables.number(name, 1, kLargestNumber)) return *nodes == tasks;
  }
  return false;
}

std::string slurm_master_addr(const LaunchVariables& variables) {
  const std::string addr = variables.master_addr();
  if (!addr.empty()) return addr;
  for (const std::string name : {"SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"}) {
    const auto list = variables.find_non_empty(name);
    if (!list) continue;
    if (const auto host = first_slurm_host(*list)) return *host;
    fail_launch("variable " + name, "is " + in_quotes(*list) + ", not a node list",
                "set MASTER_ADDR to the host of rank 0");
  }
  // Last, since srun may have been started on a login node, where rank 0 is not.
  return variables.find_non_empty("SLURM_LAUNCH_NODE_IPADDR").value_or("");
}

/// A step's tasks agree on a port without talking: it follows from the job's and the step's number.
int slurm_master_port(const LaunchVariables& variables) {
  const auto job = variables.number("SLURM_JOB_ID", 0, kLargestId);
  if (!job) return 0;
  return port_of_job(*job, variables.number("SLURM_STEP_ID", 0, kLargestId).value_or(0));
}

/// A requeued job has its old number: the restart tells what is left of the first try from it.
std::string slurm_key_prefix(const LaunchVariables& variables) {
  const std::string step = slurm_step_name(variables);
  if (step.empty()) return "";
  const auto restart = variables.find_non_empty("SLURM_RESTART_COUNT");
  return "slurm/" + step + (restart && *restart != "0" ? "/" + *restart : "");
}

}  // namespace

std::string slurm_size_name(const LaunchVariables& variables, const std::string& rank_name) {
  for (const char* name : {"SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"}) {
    if (variables.has(name)) return name;
  }
  fail_launch("variable " + rank_name,
              "is " + in_quotes(*variables.find(rank_name)) +
                  ", but neither SLURM_STEP_NUM_TASKS nor SLURM_NTASKS is set",
              "start the processes with srun, or pass rank and world_size");
}

std::string slurm_step_name(const LaunchVariables& variables) {
  const auto job = variables.find_non_empty("SLURM_JOB_ID");
  if (!job) return "";
  if (is_batch_script(variables)) return *job;
  const auto step = variables.find_non_empty("SLURM_STEP_ID");
  return *job + (step ? "." + *step : "");
}

/// SLURM_NTASKS without SLURM_PROCID is a shell of salloc, which launched nothing yet.
std::optional<LaunchClaim> slurm_claim(const LaunchVariables& variables) {
  if (!variables.has("SLURM_PROCID")) return std::nullopt;
  if (is_batch_script(variables)) return batch_claim(variables);
  LaunchClaim claim;
  claim.launcher = Launcher::kSlurm;
  claim.kind = LaunchClaim::Kind::kSlurmStep;
  claim.name = to_string(claim.launcher);
  const std::string size_name = slurm_size_name(variables, "SLURM_PROCID");
  const RankAndSize found = variables.rank_and_size("SLURM_PROCID", size_name);
  claim.rank = found.rank;
  claim.world_size = found.world_size;
  claim.local_rank = variables.local_rank({"SLURM_LOCALID"});
  claim.variables = variables.describe({"SLURM_PROCID", size_name, "SLURM_LOCALID"});
  claim.one_task_a_node = has_one_task_a_node(variables, claim.world_size);
  return claim;
}

void complete_slurm(const LaunchVariables& variables, LaunchEnv& launch) {
  launch.master_addr = slurm_master_addr(variables);
  launch.master_port = variables.master_port();
  if (launch.master_port == 0) {
    launch.master_port = slurm_master_port(variables);
    launch.port_follows_job = launch.master_port != 0;
  }
  launch.key_prefix = slurm_key_prefix(variables);
  require_master(launch,
                 std::string(kAddrLookedFor) +
                     ", SLURM_STEP_NODELIST, SLURM_JOB_NODELIST, SLURM_LAUNCH_NODE_IPADDR",
                 std::string(kPortLookedFor) + ", SLURM_JOB_ID");
}

std::optional<std::string> note_of_batch_script(const LaunchVariables& variables) {
  const auto tasks = variables.find_non_empty("SLURM_NTASKS");
  if (!tasks || *tasks == "1") return std::nullopt;
  return "Slurm's batch script (" + batch_claim(variables).variables +
         ") is one process: start its " + *tasks + " tasks with srun or mpirun";
}

}  // namespace fakescore::detail
