#include "fill/plan_phase.hpp"

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
#include "fill/read_teacher.hpp"

namespace fakescore::detail {
namespace {

constexpr const char* kPlanPhase = "plan";

/// A teacher may hold a tied tensor under each of its names; the values must then be the same.
void check_tied_values(const FillPlan& plan, const Manifest& manifest, Teacher& teacher,
                       at::Device device) {
  for (const GroupPlan& group : plan.groups) {
    if (group.fills.size() < 2) continue;
    const TensorSpec& reference = manifest.specs()[group.fills.front().spec];
    std::optional<Digest> first;
    for (const auto& fill : group.fills) {
      const TensorSpec& spec = manifest.specs()[fill.spec];
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
  const at::Tensor& recorded = recorded_tensor(target, index);
  if (!recorded.defined()) return false;
  return !recorded.is_meta() || (target.tape && target.tape->knows(recorded));
}

void plan_on_root(const FillContext& context, const DescribedTarget& described,
                  const TeacherSource& source, PlannedFill& planned) {
  planned.teacher = source.open();
  MatchedKeys matched =
      match_keys(described.manifest, described.occupied, planned.teacher->tensors(),
                 source.description(), context.options.strict);
  planned.plan = std::move(matched.plan);
  planned.keys = std::move(matched.keys);
  planned.keys.choice = planned.teacher->choice();
  check_can_be_replayed(described, planned.plan);
  check_tied_values(planned.plan, described.manifest, *planned.teacher, context.device);
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
  for (size_t i = 0; i < described.manifest.specs().size(); ++i) {
    const TensorSpec& spec = described.manifest.specs()[i];
    if (element_count(spec) == 0 || !replayed.contains(spec.alias_group)) continue;
    if (!is_explained(target, i)) unknown.push_back(spec.name);
  }
  if (unknown.empty()) return;
  throw BuildError(join_some(unknown),
                   unknown.size() == 1
                       ? "is not in the teacher, and there is no record of its initialisation"
                       : "are not in the teacher, and there is no record of their initialisation",
                   "give a teacher that has what is missing, or make it under a MetaInitGuard and "
                   "give its tape (in Python: under meta_init, or give init)");
}

PlannedFill plan_with_teacher(const FillContext& context, const DescribedTarget& described,
                              const TeacherSource& source) {
  PlannedFill planned;
  Communicator& communicator = context.communicator;
  ReadAgreement agreement(communicator, context.options, context.device);
  run_agreed(communicator, kPlanPhase, ErrorCode::kTeacher, [&] {
    if (context.is_root()) plan_on_root(context, described, source, planned);
    agreement.try_open(source, planned.teacher);
  });
  planned.decision = agreement.decide(source, planned.teacher);
  if (communicator.world_size() == 1) return planned;
  const std::string bytes = communicator.broadcast_message(
      context.is_root() ? encode_plan(planned.plan, planned.keys) : "", context.options.root,
      kPlanPhase);
  if (!context.is_root()) std::tie(planned.plan, planned.keys) = decode_plan(bytes);
  return planned;
}

}  // namespace fakescore::detail
