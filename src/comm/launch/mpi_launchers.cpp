#include "comm/launch/launchers.hpp"

namespace fakescore::detail {
namespace {

constexpr const char* kPmixNamespace = "PMIX_NAMESPACE";
constexpr const char* kPmiJob = "PMI_JOBID";

/// The step of Slurm's that set the variables, as slurm_step_name() says it; "" where none did.
std::string step_of_pmi(const LaunchVariables& variables) {
  const std::string of_slurm = "slurm.pmix.";
  const auto space = variables.find_non_empty(kPmixNamespace);
  if (variables.has("PMIX_RANK") && space && space->rfind(of_slurm, 0) == 0) {
    return space->substr(of_slurm.size());
  }
  // An MPI's own starter gives names that are no JOB.STEP.
  const auto job = variables.find_non_empty(kPmiJob);
  const bool is_step = job && job->find_first_not_of("0123456789.") == std::string::npos;
  return variables.has("PMI_RANK") && is_step ? *job : "";
}

LaunchClaim claim_of_pmi(const LaunchVariables& variables, const std::string& rank_name,
                         const std::string& size_name,
                         const std::vector<std::string>& local_rank_names) {
  LaunchClaim claim;
  claim.launcher = Launcher::kPmi;
  const bool of_slurm = rank_name == "PMIX_RANK" || !step_of_pmi(variables).empty();
  claim.kind = of_slurm ? LaunchClaim::Kind::kSlurmStep : LaunchClaim::Kind::kMpirun;
  claim.name = rank_name == "PMIX_RANK" ? "PMIx" : "PMI";
  const RankAndSize found = variables.rank_and_size(rank_name, size_name);
  claim.rank = found.rank;
  claim.world_size = found.world_size;
  claim.local_rank = variables.local_rank(local_rank_names);
  claim.variables = variables.describe({rank_name, size_name});
  return claim;
}

}  // namespace

std::optional<LaunchClaim> open_mpi_claim(const LaunchVariables& variables) {
  const char* rank_name = "OMPI_COMM_WORLD_RANK";
  const char* size_name = "OMPI_COMM_WORLD_SIZE";
  const char* local_rank_name = "OMPI_COMM_WORLD_LOCAL_RANK";
  if (!variables.has_both(rank_name, size_name)) return std::nullopt;
  LaunchClaim claim;
  claim.launcher = Launcher::kOpenMpi;
  claim.kind = LaunchClaim::Kind::kMpirun;
  claim.name = to_string(claim.launcher);
  const RankAndSize found = variables.rank_and_size(rank_name, size_name);
  claim.rank = found.rank;
  claim.world_size = found.world_size;
  claim.local_rank = variables.local_rank({local_rank_name});
  claim.variables = variables.describe({rank_name, size_name, local_rank_name});
  return claim;
}

std::optional<LaunchClaim> pmi_claim(const LaunchVariables& variables) {
  if (variables.has_both("PMI_RANK", "PMI_SIZE")) {
    return claim_of_pmi(variables, "PMI_RANK", "PMI_SIZE", {"MPI_LOCALRANKID", "SLURM_LOCALID"});
  }
  if (!variables.has("PMIX_RANK")) return std::nullopt;
  return claim_of_pmi(variables, "PMIX_RANK", slurm_size_name(variables, "PMIX_RANK"),
                      {"SLURM_LOCALID"});
}

bool pmix_lacks_size(const LaunchVariables& variables) {
  return variables.has("PMIX_RANK") && !variables.has_any({"PMI_RANK", "PMI_SIZE"}) &&
         !variables.has_any({"SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"});
}

std::optional<std::string> note_of_stale_pmi(const LaunchVariables& variables) {
  const std::string theirs = step_of_pmi(variables);
  const std::string ours = slurm_step_name(variables);
  if (theirs.empty() || ours.empty() || theirs == ours) return std::nullopt;
  const bool is_pmix = variables.has("PMIX_RANK");
  return std::string(is_pmix ? "PMIx" : "PMI") + " (" +
         variables.describe(is_pmix ? std::vector<std::string>{"PMIX_RANK", kPmixNamespace}
                                    : std::vector<std::string>{"PMI_RANK", "PMI_SIZE", kPmiJob}) +
         ") does not count: it is of Slurm's step " + theirs + ", and this process is of " + ours;
}

}  // namespace fakescore::detail
