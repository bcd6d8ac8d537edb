#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "fakescore/export.hpp"

namespace fakescore {

enum class Launcher { kExplicit, kTorchrun, kOpenMpi, kPmi, kSlurm, kSingle };

/// A process's place in its job, as its launcher says.
struct LaunchEnv {
  Launcher launcher = Launcher::kSingle;
  int rank = 0;
  int world_size = 1;
  int local_rank = 0;
  std::string master_addr;  ///< of the host that serves the store; empty under MPI launchers
  int master_port = 0;
  bool agent_hosts_store = false;  ///< torchrun's agent serves the store: every rank is a client
  std::string key_prefix;          ///< separates runs and restarts that share one store
  bool port_follows_job = false;   ///< master_port was made from Slurm's numbers, and may be taken
  /// What the process should be told: which variables of other launchers do not count, and why;
  /// that a batch script is one process; that srun cannot start MPI. Empty in most jobs.
  std::vector<std::string> notes;
};

/// Values that the caller sets; they win over every launcher's variables.
struct LaunchOverride {
  std::optional<int> rank;
  std::optional<int> world_size;
  std::optional<int> local_rank;
  std::optional<std::string> master_addr;
  std::optional<int> master_port;
  /// One of launcher_choices(): no other launcher's variables are looked at. nullopt: the variable
  /// FAKESCORE_LAUNCHER, else every launcher. Without effect where rank and world_size are set.
  std::optional<std::string> launcher;
};

/// Returns the value of an environment variable, or nullopt.
using Environment = std::function<std::optional<std::string>(const std::string&)>;

/// The process environment.
FAKESCORE_API Environment process_environment();

/// What LaunchOverride::launcher and FAKESCORE_LAUNCHER may name: torchrun, mpi (Open MPI, PMI and
/// PMIx), slurm, and none, which is a single process.
FAKESCORE_API const std::vector<std::string>& launcher_choices();

/// Finds rank and world size from, in this order: `override`, torchrun (RANK, WORLD_SIZE,
/// LOCAL_RANK, MASTER_ADDR, MASTER_PORT), Open MPI (OMPI_COMM_WORLD_*), PMI/PMIx (PMI_RANK,
/// PMI_SIZE, PMIX_RANK), Slurm (SLURM_PROCID, SLURM_NTASKS, ...), a single process. Variables of
/// several launchers must agree about rank, size and local rank, known leftovers aside, which
/// LaunchEnv::notes then names: docs/launching.md has the rules. A batch script of Slurm's is a
/// single process. Throws ConfigError naming the variable, its value and what was looked for when
/// one is malformed, out of range, or present without the ones that belong to it; and naming both
/// launchers, their variables and values, and how to choose one, where they disagree.
FAKESCORE_API LaunchEnv detect_launch_env(const Environment& environment = process_environment(),
                                          const LaunchOverride& override = {});

FAKESCORE_API const char* to_string(Launcher launcher) noexcept;

}  // namespace fakescore
