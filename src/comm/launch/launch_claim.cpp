#include "comm/launch/launch_claim.hpp"

#include <utility>

#include "comm/launch/launch_variables.hpp"

namespace fakescore::detail {
namespace {

using Kind = LaunchClaim::Kind;

bool claims_agree(const LaunchClaim& a, const LaunchClaim& b) {
  if (a.rank != b.rank || a.world_size != b.world_size) return false;
  return !a.local_rank || !b.local_rank || *a.local_rank == *b.local_rank;
}

bool is_one_rank_around(const LaunchClaim& claim, const LaunchClaim& other) {
  return claim.world_size == 1 && other.world_size > 1;
}

std::string note_of_one_rank(const LaunchClaim& other) {
  return "it has one rank, in which " + other.name + " started " + std::to_string(other.world_size);
}

std::optional<std::string> leftover_of_slurm(const LaunchClaim& step, const LaunchClaim& other) {
  if (step.world_size == 1) return "its step has one task, in which " + other.name + " was started";
  if (other.kind == Kind::kMpirun && step.one_task_a_node && other.world_size > 1) {
    return "its step has one task a node, as has that in which mpirun starts its daemons";
  }
  if (other.agents == step.world_size) return "its step has one task for each agent of torchrun";
  return std::nullopt;
}

/// Why `claim`, which disagrees with `other`, is a known leftover beside it; nullopt where it is
/// none. docs/launching.md has these rules.
std::optional<std::string> leftover_reason(const LaunchClaim& claim, const LaunchClaim& other) {
  switch (claim.kind) {
    case Kind::kSlurmBatch:
      return "it is one process, in which " + other.name + " was started";
    case Kind::kSlurmStep:
      return leftover_of_slurm(claim, other);
    case Kind::kTorchrun:
      if (other.kind == Kind::kMpirun && is_one_rank_around(claim, other))
        return note_of_one_rank(other);
      return std::nullopt;
    case Kind::kMpirun:
      if (other.kind == Kind::kTorchrun && is_one_rank_around(claim, other))
        return note_of_one_rank(other);
      return std::nullopt;
  }
  return std::nullopt;
}

/// Why `claims[index]` does not count beside one of the others.
std::optional<std::string> note_of_leftover(const std::vector<LaunchClaim>& claims, size_t index) {
  const LaunchClaim& claim = claims[index];
  for (const LaunchClaim& other : claims) {
    if (claims_agree(claim, other)) continue;
    if (const auto reason = leftover_reason(claim, other)) {
      return claim.name + " (" + claim.variables + ") does not count beside " + other.name + " (" +
             other.variables + "): " + *reason;
    }
  }
  return std::nullopt;
}

std::string describe_claim(const LaunchClaim& claim) {
  std::string text = claim.name + " says rank " + std::to_string(claim.rank) + " of " +
                     std::to_string(claim.world_size);
  if (claim.local_rank) text += ", local rank " + std::to_string(*claim.local_rank);
  return text + " (" + claim.variables + ")";
}

/// What the caller sets to choose the launcher of `claim`.
std::string choice_of(const LaunchClaim& claim) {
  switch (claim.launcher) {
    case Launcher::kTorchrun:
      return "FAKESCORE_LAUNCHER=torchrun";
    case Launcher::kOpenMpi:
    case Launcher::kPmi:
      return "FAKESCORE_LAUNCHER=mpi";
    case Launcher::kSlurm:
      return "FAKESCORE_LAUNCHER=slurm";
    case Launcher::kExplicit:
    case Launcher::kSingle:
      break;
  }
  return "FAKESCORE_LAUNCHER=none";
}

[[noreturn]] void fail_disagreement(const LaunchClaim& a, const LaunchClaim& b) {
  const std::string first = choice_of(a);
  const std::string second = choice_of(b);
  fail_launch("launchers " + a.name + " and " + b.name,
              "disagree: " + describe_claim(a) + ", but " + describe_claim(b),
              "unset the variables of the one that did not start this process, or choose on every "
              "rank with " +
                  first + (first == second ? "" : " or " + second) +
                  " (LaunchOverride::launcher in code, --launcher of the program; none is a single "
                  "process)");
}

}  // namespace

ChosenClaim choose_claim(std::vector<LaunchClaim> claims) {
  ChosenClaim chosen;
  std::vector<LaunchClaim> counting;
  for (size_t i = 0; i < claims.size(); ++i) {
    if (auto note = note_of_leftover(claims, i)) {
      chosen.notes.push_back(std::move(*note));
    } else {
      counting.push_back(claims[i]);
    }
  }
  if (counting.empty()) return chosen;
  for (size_t i = 0; i < counting.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (!claims_agree(counting[j], counting[i])) fail_disagreement(counting[j], counting[i]);
    }
  }
  chosen.claim = counting.front();
  for (const LaunchClaim& claim : counting) {
    if (!chosen.claim->local_rank) chosen.claim->local_rank = claim.local_rank;
  }
  return chosen;
}

}  // namespace fakescore::detail
