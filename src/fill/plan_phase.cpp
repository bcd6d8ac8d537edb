#include "fill/plan_phase.hpp"

#include <c10/util/StringUtil.h>

#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "error/join.hpp"
#include "fakescore/comm/run_agreed.hpp"
#include "fakescore/error.hpp"
#include "fakescore/tensor/digest.hpp"
#include "fill/fill_plan_codec.hpp"
#include "fill/flatten_parts.hpp"
#include "fill/read_teacher.hpp"
#include "fill/shards.hpp"
#include "tensor/boxes.hpp"

namespace fakescore::detail {
namespace {

constexpr const char* kPlanPhase = "plan";

/// A teacher may hold a tied tensor under each of its names; the values must then be the same.
void check_tied_values(const FillPlan& plan, const Manifest& manifest, Teacher& teacher,
                       at::Device device) {
  for (const GroupPlan& group : plan.groups) {
    if (group.fills.size() < 2) continue;
    const TensorSpec& reference = manifest.specs()[group.fills.front().spec];
    const auto& reference_part = teacher.tensors()[group.fills.front().teacher].shard;
    std::optional<Digest> first;
    for (const auto& fill : group.fills) {
      const TensorSpec& spec = manifest.specs()[fill.spec];
      // Other parts of a tensor are compared by the ranks that have both.
      if (teacher.tensors()[fill.teacher].shard != reference_part) continue;
      if (!same_view(spec, reference)) continue;
      const Digest digest =
          digest_tensor(read_teacher(teacher, fill.teacher, spec, device).to(reference.dtype));
      if (first && *first != digest) {
        throw TeacherError(spec.name,
                           "is tied to " + reference.name +
                               " in the module, but the teacher has different values for the two",
                           "build a module that does not tie them, or correct the teacher");
      }
      first = digest;
    }
  }
}

/// Whether there is a value for a tensor that no teacher has: what is real has its own.
bool is_explained(const FillTarget& target, size_t index) {
  // The memory of a shard is given, whatever it holds.
  if (target.tensors[index].shard && target.recorded.empty()) return false;
  const at::Tensor& recorded = recorded_tensor(target, index);
  if (!recorded.defined()) return false;
  return !recorded.is_meta() || (target.tape && target.tape->knows(recorded));
}

/// What a rank can compute of shards, and from what: the same text means the same values.
std::string describe_record(const DescribedTarget& described) {
  const FillTarget& target = described.target;
  if (!target.tape || target.recorded.empty()) return "";
  std::string text = to_string(target.tape->fingerprint());
  for (size_t i = 0; i < target.tensors.size(); ++i) {
    if (!target.tensors[i].shard) continue;
    const at::Tensor& recorded = target.recorded[i];
    text += recorded.defined() && target.tape->knows(recorded) ? '1' : '0';
  }
  return text;
}

/// Collective. Whether every rank can compute what the root can of shards.
bool have_one_record(const FillContext& context, const DescribedTarget& described) {
  std::string own;
  run_agreed(context.communicator, kPlanPhase, ErrorCode::kBuild,
             [&] { own = describe_record(described); });
  return context.communicator.compare(own, kPlanPhase).is_same() && !own.empty();
}

/// Else the root computes them, and they are cut on their way.
void replay_shards_on_each_rank(const DescribedTarget& described, FillPlan& plan) {
  const FillTarget& target = described.target;
  for (GroupPlan& group : plan.groups) {
    const at::Tensor& recorded = target.recorded[described.manifest.index_of_first(group.group)];
    if (group.mode != FillMode::kReplay || !described.is_shard(group.group)) continue;
    if (recorded.defined() && target.tape->knows(recorded)) group.mode = FillMode::kReplayOnEach;
  }
}

/// Throws TeacherError where a tensor of a teacher in shards goes to something that is no plain
/// tensor of its own: ranks could not send each other parts of it.
void check_can_be_redistributed(const DescribedTarget& described, const GroupPlan& group,
                                const Teacher& teacher) {
  const Manifest& manifest = described.manifest;
  const TensorSpec& first = manifest.first_of_group(group.group);
  for (const auto& fill : group.fills) {
    const TensorSpec& spec = manifest.specs()[fill.spec];
    const bool is_plain = same_view(spec, first) && is_contiguous(spec) && !spec.conj && !spec.neg;
    const TeacherTensor& tensor = teacher.tensors()[fill.teacher];
    const Shard part = tensor.shard.value_or(Shard{tensor.sizes, {}});
    const Shard own = shard_of(spec);
    if (is_flattened(part) && !is_flattened(own)) {
      throw TeacherError(spec.name, "is flattened in the teacher, but not here",
                         "give the teacher's files, or parts of it that are not flattened");
    }
    if (!is_flattened(part) && is_flattened(own) && part.global_sizes == own.flattened_from) {
      throw TeacherError(
          spec.name,
          "is flattened here, and this rank's part of it in the teacher is no run of its elements",
          "give the teacher's files, or shard it along the first dimension");
    }
    const bool is_all = group.mode != FillMode::kReplay && are_of_one_tensor(part, own);
    if (is_plain && is_all) continue;
    throw TeacherError(
        spec.name,
        "is in shards in the teacher, but of another shape or a view of shared memory here",
        "give the teacher's files, or a module without such views");
  }
}

/// Whether what a teacher in shards has here is other than what this rank holds.
bool has_other_parts(const DescribedTarget& described, const FillPlan& plan,
                     const Teacher& teacher) {
  bool differs = false;
  for (const GroupPlan& group : plan.groups) {
    for (const auto& fill : group.fills) {
      const std::optional<Shard>& part = teacher.tensors()[fill.teacher].shard;
      if (!part) continue;
      if (part == described.manifest.specs()[fill.spec].shard) continue;
      check_can_be_redistributed(described, group, teacher);
      differs = true;
    }
  }
  return differs;
}

/// Collective. Whether any rank has, of parts as the target has them.
bool any_has_other_parts(const FillContext& context, const DescribedTarget& described,
                         PlannedFill& planned) {
  std::string differs = "no";
  run_agreed(context.communicator, kPlanPhase, ErrorCode::kTeacher, [&] {
    if (!planned.teacher) return;
    planned.teacher = flatten_parts(std::move(planned.teacher), described, planned.plan);
    // The root has compared its own parts.
    if (!context.is_root()) {
      check_tied_values(planned.plan, described.whole, *planned.teacher, context.device);
    }
    if (has_other_parts(described, planned.plan, *planned.teacher)) differs = "yes";
  });
  const Comparison found = context.communicator.compare(differs, kPlanPhase);
  return found.of_rank_0 == "yes" || !found.is_same();
}

void plan_on_root(const FillContext& context, const DescribedTarget& described,
                  const TeacherSource& source, PlannedFill& planned) {
  planned.teacher = source.open();
  MatchedKeys matched =
      match_keys(described.whole, described.whole_occupied, planned.teacher->tensors(),
                 source.description(), context.options.strict);
  planned.plan = std::move(matched.plan);
  planned.keys = std::move(matched.keys);
  planned.keys.choice = planned.teacher->choice();
  check_can_be_replayed(described, planned.plan);
  check_tied_values(planned.plan, described.whole, *planned.teacher, context.device);
}

}  // namespace

void check_can_be_replayed(const DescribedTarget& described, const FillPlan& plan) {
  const FillTarget& target = described.target;
  if (target.storage == StoragePolicy::kGiven) return;
  std::unordered_set<int64_t> replayed;
  for (const GroupPlan& group : plan.groups) {
    if (group.mode == FillMode::kReplay) replayed.insert(group.group);
  }
  std::vector<std::string> unknown;
  for (size_t i = 0; i < described.whole.specs().size(); ++i) {
    const TensorSpec& spec = described.whole.specs()[i];
    if (element_count(spec) == 0 || !replayed.contains(spec.alias_group)) continue;
    if (!is_explained(target, i)) unknown.push_back(spec.name);
  }
  if (unknown.empty()) return;
  throw BuildError(join_some(unknown),
                   unknown.size() == 1
                       ? "is not in the teacher, and there is no record of its initialisation"
                       : "are not in the teacher, and there is no record of their initialisation",
                   "give a teacher that has what is missing, or make it under a MetaInitGuard and "
                   "give its tape (in Python: under meta_init, with no to_empty after it, or give "
                   "init)");
}

PlannedFill plan_with_teacher(const FillContext& context, const DescribedTarget& described,
                              const TeacherSource& source) {
  PlannedFill planned;
  Communicator& communicator = context.communicator;
  const bool sharded = has_shards(described.manifest);
  const bool one_record = sharded && have_one_record(context, described);
  ReadAgreement agreement(communicator, context.options, context.device, described.manifest);
  run_agreed(communicator, kPlanPhase, ErrorCode::kTeacher, [&] {
    if (context.is_root()) {
      plan_on_root(context, described, source, planned);
      if (one_record) replay_shards_on_each_rank(described, planned.plan);
    }
    agreement.try_open(source, planned.teacher);
  });
  planned.decision = agreement.decide(source, planned.teacher);
  const std::string bytes = communicator.broadcast_message(
      context.is_root() ? encode_plan(planned.plan, planned.keys) : "", context.options.root,
      kPlanPhase);
  if (!context.is_root()) std::tie(planned.plan, planned.keys) = decode_plan(bytes);
  if (planned.decision.is_in_shards) {
    planned.redistributes = any_has_other_parts(context, described, planned);
    if (planned.redistributes) {
      planned.decision.reason = "the teacher's parts are redistributed";
    }
  }
  return planned;
}

}  // namespace fakescore::detail
