#pragma once

#include <optional>
#include <string>
#include <vector>

#include "fakescore/comm/launch_env.hpp"

namespace fakescore::detail {

/// What one launcher's variables say about this process. Several launchers may have left theirs.
struct LaunchClaim {
  /// How the process came to have the variables: what may stand beside what follows from it.
  enum class Kind { kTorchrun, kMpirun, kSlurmStep, kSlurmBatch };

  Launcher launcher = Launcher::kSingle;
  Kind kind = Kind::kTorchrun;
  std::string name;  ///< "Open MPI", "Slurm's batch script"
  int rank = 0;
  int world_size = 1;
  std::optional<int> local_rank;  ///< nullopt where no variable says it
  std::string variables;          ///< with their values, for people
  /// torchrun: how many agents started the ranks. nullopt where the variables were set by hand.
  std::optional<int> agents;
  bool one_task_a_node = false;  ///< of a Slurm step
};

/// The claim that counts. Its local rank is another's where it says none itself.
struct ChosenClaim {
  std::optional<LaunchClaim> claim;  ///< nullopt: no launcher
  std::vector<std::string> notes;    ///< what does not count, and why
};

/// `claims` are in the order in which launchers count. Leftovers that docs/launching.md lists do
/// not count. Throws ConfigError naming both launchers where the rest disagrees about rank, size or
/// local rank.
ChosenClaim choose_claim(std::vector<LaunchClaim> claims);

}  // namespace fakescore::detail
