#include "comm/launch/launchers.hpp"

namespace fakescore::detail {
namespace {

constexpr const char* kRunId = "TORCHELASTIC_RUN_ID";
constexpr const char* kRestartCount = "TORCHELASTIC_RESTART_COUNT";

/// Empty outside of torchrun's elastic agent, as where RANK and WORLD_SIZE were set by hand.
std::string torchrun_key_prefix(const LaunchVariables& variables) {
  if (!variables.has_any({kRunId, kRestartCount})) return "";
  return variables.find_non_empty(kRunId).value_or("default") + "/" +
         variables.find_non_empty(kRestartCount).value_or("0");
}

}  // namespace

std::optional<LaunchClaim> torchrun_claim(const LaunchVariables& variables) {
  if (!variables.has_both("RANK", "WORLD_SIZE")) return std::nullopt;
  LaunchClaim claim;
  claim.launcher = Launcher::kTorchrun;
  claim.kind = LaunchClaim::Kind::kTorchrun;
  claim.name = to_string(claim.launcher);
  const RankAndSize found = variables.rank_and_size("RANK", "WORLD_SIZE");
  claim.rank = found.rank;
  claim.world_size = found.world_size;
  claim.local_rank = variables.local_rank({"LOCAL_RANK"});
  claim.variables = variables.describe({"RANK", "WORLD_SIZE", "LOCAL_RANK"});
  if (variables.has_any({kRunId, kRestartCount})) {
    if (const auto agents = variables.number("GROUP_WORLD_SIZE", 1, kLargestNumber)) {
      claim.agents = static_cast<int>(*agents);
    }
  }
  return claim;
}

void complete_torchrun(const LaunchVariables& variables, LaunchEnv& launch) {
  launch.master_addr = variables.master_addr();
  launch.master_port = variables.master_port();
  launch.agent_hosts_store = variables.find("TORCHELASTIC_USE_AGENT_STORE") == "True";
  launch.key_prefix = torchrun_key_prefix(variables);
  require_master(launch);
}

}  // namespace fakescore::detail
