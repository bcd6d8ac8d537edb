#include "fill/replay_phase.hpp"

#include <algorithm>
#include <memory>
#include <unordered_set>
#include <utility>
#include <vector>

#include "fakescore/comm/run_agreed.hpp"
#include "fakescore/error.hpp"
#include "fill/group_transfers.hpp"
#include "fill/replay_tape.hpp"
#include "fill/send_transfers.hpp"
#include "fill/shards.hpp"
#include "tensor/copy_once.hpp"

namespace fakescore::detail {
namespace {

constexpr const char* kReplayPhase = "replay";
/// Whole tensors of which parts are kept: together, what they are computed from is computed once.
constexpr size_t kReplayedAtOnce = size_t{64} << 20;

/// The tensors of the groups that are replayed, and the group of each.
struct ReplayTargets {
  std::vector<at::Tensor> tensors;
  std::vector<size_t> indices;  ///< into the target's tensors
  std::vector<int64_t> groups;
};

ReplayTargets find_targets(const DescribedTarget& described, const FillPlan& plan, FillMode mode) {
  std::unordered_set<int64_t> groups;
  for (const GroupPlan& group : plan.groups) {
    // A shard that the root gives is whole where it was recorded, and cut on its way.
    if (mode == FillMode::kReplay && described.is_shard(group.group)) continue;
    if (group.mode == mode) groups.insert(group.group);
  }
  ReplayTargets targets;
  for (size_t i = 0; i < described.target.tensors.size(); ++i) {
    const int64_t group = described.manifest.specs()[i].alias_group;
    if (!groups.contains(group)) continue;
    const at::Tensor& recorded = recorded_tensor(described.target, i);
    if (!recorded.defined()) continue;  // without elements, or the plan phase had refused it
    targets.tensors.push_back(recorded);
    targets.indices.push_back(i);
    targets.groups.push_back(group);
  }
  return targets;
}

/// For an error.
std::string wanted_for(const ReplayTargets& targets, const Manifest& manifest) {
  const std::unordered_set<int64_t> groups(targets.groups.begin(), targets.groups.end());
  std::string text = manifest.first_of_group(targets.groups.front()).name;
  if (groups.size() > 1) {
    text += " or one of " + std::to_string(groups.size() - 1) + " more tensors";
  }
  return text;
}

std::vector<at::Tensor> replay_targets(const DescribedTarget& described,
                                       const ReplayTargets& targets) {
  return replay_tape(described.target.tape, targets.tensors,
                     wanted_for(targets, described.manifest));
}

void replay_on_root(const FillContext& context, const DescribedTarget& described,
                    const PlannedFill& planned, Storages& storages) {
  if (described.target.storage == StoragePolicy::kGiven) return;  // it holds them already
  const ReplayTargets targets = find_targets(described, planned.plan, FillMode::kReplay);
  if (targets.tensors.empty()) return;
  const auto values = replay_targets(described, targets);
  for (size_t i = 0; i < values.size(); ++i) {
    const NamedTensor& target = described.target.tensors[targets.indices[i]];
    if (!targets.tensors[i].is_same(target.tensor)) {
      copy_once(storages.tensor(targets.indices[i]), values[i]);
      continue;
    }
    // The tape replays on the CPU: there its storages are as good as those that were allocated.
    if (context.device.is_cpu()) {
      storages.take(targets.groups[i], values[i]);
    } else {
      storages.copy_from(targets.groups[i], values[i]);
    }
  }
}

/// Replays whole tensors, and keeps what this rank holds of them.
void replay_and_cut(const DescribedTarget& described, const ReplayTargets& targets,
                    const Storages& storages) {
  const auto wholes = replay_targets(described, targets);
  for (size_t i = 0; i < wholes.size(); ++i) {
    const size_t index = targets.indices[i];
    copy_once(storages.tensor(index), box_of(wholes[i], described.target.tensors[index].shard));
  }
}

/// Each rank for itself, and only what it holds a part of: no rank waits for another that does not.
void replay_shards(const FillContext& context, const DescribedTarget& described,
                   const PlannedFill& planned, const Storages& storages) {
  const ReplayTargets all = find_targets(described, planned.plan, FillMode::kReplayOnEach);
  run_agreed(context.communicator, kReplayPhase, ErrorCode::kBuild, [&] {
    ReplayTargets next;
    size_t bytes = 0;
    for (size_t i = 0; i < all.tensors.size(); ++i) {
      if (described.target.tensors[all.indices[i]].tensor.numel() == 0) continue;
      next.tensors.push_back(all.tensors[i]);
      next.indices.push_back(all.indices[i]);
      next.groups.push_back(all.groups[i]);
      bytes += all.tensors[i].nbytes();
      if (bytes < kReplayedAtOnce) continue;
      replay_and_cut(described, std::exchange(next, {}), storages);
      bytes = 0;
    }
    if (!next.tensors.empty()) replay_and_cut(described, next, storages);
  });
}

/// So that all ranks replay what the root would.
void share_random_state(const FillContext& context, const DescribedTarget& described) {
  const auto& tape = described.target.tape;
  const std::string state = context.communicator.broadcast_message(
      context.is_root() && tape ? tape->random_state() : "", context.options.root, kReplayPhase);
  run_agreed(context.communicator, kReplayPhase, ErrorCode::kBuild, [&] {
    if (tape && !state.empty()) tape->set_random_state(state);
  });
}

bool replays_on_each(const FillPlan& plan) {
  return std::any_of(plan.groups.begin(), plan.groups.end(),
                     [](const GroupPlan& group) { return group.mode == FillMode::kReplayOnEach; });
}

}  // namespace

uint64_t replay(const FillContext& context, const DescribedTarget& described,
                const PlannedFill& planned, Storages& storages, LinkCount& links) {
  if (replays_on_each(planned.plan)) {
    share_random_state(context, described);
    replay_shards(context, described, planned, storages);
  }
  run_agreed(context.communicator, kReplayPhase, ErrorCode::kBuild, [&] {
    if (context.is_root()) replay_on_root(context, described, planned, storages);
  });
  // Where every rank reads, each still gets from the root what only that has replayed.
  return send_transfers(
      context, make_transfers(context, described, planned, storages, GroupsToMove::kReplayed),
      {CutsFrom::kRoot}, links, kReplayPhase);
}

}  // namespace fakescore::detail
