#pragma once

#include <optional>

#include "comm/launch/launch_claim.hpp"
#include "comm/launch/launch_variables.hpp"

namespace fakescore::detail {

// Each launcher's rules: what its variables claim (nullopt where it set none), and what else the
// ranks need to meet where the claim counts. All throw ConfigError naming a variable that is
// malformed.

std::optional<LaunchClaim> torchrun_claim(const LaunchVariables& variables);
void complete_torchrun(const LaunchVariables& variables, LaunchEnv& launch);

std::optional<LaunchClaim> open_mpi_claim(const LaunchVariables& variables);

/// PMI's and PMIx's variables, of an MPI's own starter or of srun --mpi.
std::optional<LaunchClaim> pmi_claim(const LaunchVariables& variables);
/// Whether PMIx is there without the number of ranks, for which it has no variable.
bool pmix_lacks_size(const LaunchVariables& variables);
/// Why the PMI or PMIx variables are not this process's: they name another step of Slurm's.
std::optional<std::string> note_of_stale_pmi(const LaunchVariables& variables);

/// A task of srun, or a batch script.
std::optional<LaunchClaim> slurm_claim(const LaunchVariables& variables);
void complete_slurm(const LaunchVariables& variables, LaunchEnv& launch);
/// The variable in which Slurm says how many tasks belong to `rank_name`: those of the step where
/// it is set, those of the job otherwise.
std::string slurm_size_name(const LaunchVariables& variables, const std::string& rank_name);
/// "JOB.STEP", "JOB" in a batch script, "" outside of Slurm.
std::string slurm_step_name(const LaunchVariables& variables);
/// What a batch script that was given several tasks is told; nullopt where it has one.
std::optional<std::string> note_of_batch_script(const LaunchVariables& variables);

}  // namespace fakescore::detail
