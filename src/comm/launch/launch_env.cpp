#include "fakescore/comm/launch_env.hpp"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "comm/control/mpi_start.hpp"
#include "comm/launch/launch_claim.hpp"
#include "comm/launch/launch_variables.hpp"
#include "comm/launch/launchers.hpp"
#include "error/join.hpp"

namespace fakescore {
namespace detail {
namespace {

constexpr const char* kChoice = "FAKESCORE_LAUNCHER";

void check_option(const std::string& name, const std::optional<int>& value, int least, int most) {
  if (!value || (*value >= least && *value <= most)) return;
  const std::string range = describe_number_range(least, most);
  fail_launch("option " + name, "is " + std::to_string(*value) + ", not " + range,
              "set " + name + " to " + range + ", or leave it unset");
}

void check_override(const LaunchOverride& override) {
  check_option("rank", override.rank, 0, kLargestNumber);
  check_option("world_size", override.world_size, 1, kLargestNumber);
  check_option("local_rank", override.local_rank, 0, kLargestNumber);
  check_option("master_port", override.master_port, 1, kLargestPort);
  if (override.master_addr && override.master_addr->empty()) {
    fail_launch("option master_addr", "is \"\", not an address",
                "set master_addr to the host of rank 0, or leave it unset");
  }
}

std::optional<LaunchEnv> from_override(const LaunchVariables& variables,
                                       const LaunchOverride& override) {
  if (!override.rank && !override.world_size) return std::nullopt;
  if (!override.rank) {
    fail_launch("option world_size",
                "is " + std::to_string(*override.world_size) + ", but rank is not set",
                "set both rank and world_size, or neither");
  }
  if (!override.world_size) {
    fail_launch("option rank",
                "is " + std::to_string(*override.rank) + ", but world_size is not set",
                "set both rank and world_size, or neither");
  }
  if (*override.rank >= *override.world_size) {
    fail_launch("option rank",
                "is " + std::to_string(*override.rank) + ", but world_size is " +
                    std::to_string(*override.world_size),
                "give every process a rank from 0 to world_size - 1");
  }
  LaunchEnv launch;
  launch.launcher = Launcher::kExplicit;
  launch.rank = *override.rank;
  launch.world_size = *override.world_size;
  launch.local_rank = override.local_rank.value_or(launch.rank);
  launch.master_addr = variables.master_addr();
  launch.master_port = variables.master_port();
  require_master(launch);
  return launch;
}

/// The launcher that alone counts; empty where every one does.
std::string find_choice(const LaunchVariables& variables, const LaunchOverride& override) {
  const auto variable = variables.find_non_empty(kChoice);
  const std::string choice = override.launcher ? *override.launcher : variable.value_or("");
  const auto& names = launcher_choices();
  if (!override.launcher && !variable) return "";
  if (std::find(names.begin(), names.end(), choice) != names.end()) return choice;
  const std::string subject =
      override.launcher ? "option launcher" : std::string("variable ") + kChoice;
  fail_launch(subject, "is " + in_quotes(choice) + ", not " + join(names, " or "),
              "use one of these, or leave it unset");
}

struct FoundClaims {
  std::vector<LaunchClaim> claims;
  std::vector<std::string> notes;
  /// Why Slurm's claim stands without PMI's; empty where that is not so.
  std::string note_of_slurm;

  void add(std::optional<LaunchClaim> claim) {
    if (claim) claims.push_back(std::move(*claim));
  }
};

/// Open MPI ends a process that srun started without PMIx inside MPI_Init.
bool is_beyond_mpi(const LaunchClaim& pmi, const std::optional<LaunchClaim>& slurm) {
  return pmi.name == "PMI" && pmi.kind == LaunchClaim::Kind::kSlurmStep && slurm &&
         slurm->kind == LaunchClaim::Kind::kSlurmStep && !mpi_starts_by_pmi();
}

/// PMI's claim where it is of this process, says how many ranks there are, and MPI can use it.
void add_pmi(const LaunchVariables& variables, const std::optional<LaunchClaim>& slurm,
             FoundClaims& found) {
  if (auto note = note_of_stale_pmi(variables)) {
    found.notes.push_back(std::move(*note));
    return;
  }
  if (pmix_lacks_size(variables) && !found.claims.empty()) return;
  auto claim = pmi_claim(variables);
  if (claim && is_beyond_mpi(*claim, slurm)) {
    found.note_of_slurm =
        "the ranks meet over a store: srun --mpi=pmi2 (" + claim->variables +
        ") cannot start the MPI of this build; for MPI, pass --mpi=pmix to srun, or use mpirun";
    return;
  }
  found.add(std::move(claim));
}

/// In the order in which launchers count.
FoundClaims find_claims(const LaunchVariables& variables) {
  FoundClaims found;
  found.add(torchrun_claim(variables));
  auto slurm = slurm_claim(variables);
  if (auto open_mpi = open_mpi_claim(variables)) {
    // PMIx is how Open MPI's own daemons start ranks, so that it says nothing of its own.
    found.add(std::move(open_mpi));
  } else {
    add_pmi(variables, slurm, found);
  }
  found.add(std::move(slurm));
  return found;
}

std::optional<LaunchClaim> claim_of_choice(const LaunchVariables& variables,
                                           const std::string& choice) {
  if (choice == "torchrun") return torchrun_claim(variables);
  if (choice == "slurm") return slurm_claim(variables);
  auto claim = open_mpi_claim(variables);
  return claim ? claim : pmi_claim(variables);
}

FoundClaims find_chosen_claim(const LaunchVariables& variables, const std::string& choice) {
  FoundClaims found;
  if (choice == "none") return found;
  found.add(claim_of_choice(variables, choice));
  if (!found.claims.empty()) return found;
  const std::string looked_for = choice == "torchrun" ? "RANK, WORLD_SIZE"
                                 : choice == "slurm"  ? "SLURM_PROCID"
                                                      : "OMPI_COMM_WORLD_RANK, PMI_RANK, PMIX_RANK";
  fail_launch("launcher " + choice, "was chosen, but it set no variables; looked for " + looked_for,
              "start the program with it, or choose another in " + std::string(kChoice));
}

LaunchEnv launch_of(const LaunchVariables& variables, ChosenClaim chosen) {
  LaunchEnv launch;
  launch.notes = std::move(chosen.notes);
  if (!chosen.claim) return launch;
  launch.launcher = chosen.claim->launcher;
  launch.rank = chosen.claim->rank;
  launch.world_size = chosen.claim->world_size;
  launch.local_rank = chosen.claim->local_rank.value_or(launch.rank);
  if (launch.launcher == Launcher::kTorchrun) complete_torchrun(variables, launch);
  if (launch.launcher == Launcher::kSlurm) complete_slurm(variables, launch);
  if (chosen.claim->kind == LaunchClaim::Kind::kSlurmBatch) {
    if (auto note = note_of_batch_script(variables)) launch.notes.push_back(std::move(*note));
  }
  return launch;
}

LaunchEnv from_launchers(const LaunchVariables& variables, const LaunchOverride& override) {
  const std::string choice = find_choice(variables, override);
  FoundClaims found =
      choice.empty() ? find_claims(variables) : find_chosen_claim(variables, choice);
  ChosenClaim chosen = choose_claim(std::move(found.claims));
  chosen.notes.insert(chosen.notes.begin(), found.notes.begin(), found.notes.end());
  LaunchEnv launch = launch_of(variables, std::move(chosen));
  if (launch.launcher == Launcher::kSlurm && launch.world_size > 1 &&
      !found.note_of_slurm.empty()) {
    launch.notes.push_back(found.note_of_slurm);
  }
  return launch;
}

}  // namespace
}  // namespace detail

Environment process_environment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    if (value == nullptr) return std::nullopt;
    return std::string(value);
  };
}

const std::vector<std::string>& launcher_choices() {
  static const std::vector<std::string> names = {"torchrun", "mpi", "slurm", "none"};
  return names;
}

LaunchEnv detect_launch_env(const Environment& environment, const LaunchOverride& override) {
  detail::check_override(override);
  const detail::LaunchVariables variables(environment, override);
  const auto found = detail::from_override(variables, override);
  LaunchEnv launch = found ? *found : detail::from_launchers(variables, override);
  if (override.local_rank) launch.local_rank = *override.local_rank;
  if (override.master_addr) launch.master_addr = *override.master_addr;
  if (override.master_port) launch.master_port = *override.master_port;
  return launch;
}

const char* to_string(Launcher launcher) noexcept {
  switch (launcher) {
    case Launcher::kExplicit:
      return "explicit";
    case Launcher::kTorchrun:
      return "torchrun";
    case Launcher::kOpenMpi:
      return "Open MPI";
    case Launcher::kPmi:
      return "PMI";
    case Launcher::kSlurm:
      return "Slurm";
    case Launcher::kSingle:
      return "single process";
  }
  return "unknown launcher";
}

}  // namespace fakescore
