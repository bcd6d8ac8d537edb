#include "fakescore/fill/fill_tensors.hpp"

#include <ATen/core/grad_mode.h>

#include <unordered_set>
#include <utility>

#include "comm/control/agreement.hpp"
#include "fakescore/comm/run_agreed.hpp"
#include "fakescore/error.hpp"
#include "fill/check_options.hpp"
#include "fill/described_target.hpp"
#include "fill/fill_context.hpp"
#include "fill/gather_report.hpp"
#include "fill/manifest_agreement.hpp"
#include "fill/move_phase.hpp"
#include "fill/no_inference_mode.hpp"
#include "fill/phase_clock.hpp"
#include "fill/place_phase.hpp"
#include "fill/plan_phase.hpp"
#include "fill/replay_phase.hpp"
#include "fill/timeout_scope.hpp"
#include "tensor/broken_device.hpp"
#include "transfer/verify.hpp"

namespace fakescore {
namespace detail {
namespace {

DescribedTarget build(const FillContext& context, const TargetBuilder& build_target) {
  DescribedTarget described;
  run_agreed(context.communicator, "build", ErrorCode::kBuild, [&] {
    check_fill_options(context.communicator.world_size(), context.options);
    check_reader(context.options, context.device);
    context.communicator.bulk(context.device);  // throws where it cannot carry the target
    described = describe_target(build_target());
  });
  return described;
}

void agree_on_target(const FillContext& context, const DescribedTarget& described) {
  agree_on_value(
      context.communicator, "agree", "options",
      describe_options(context.options, context.device) + " " + described.target.settings);
  agree_on_manifest(context.communicator, described.manifest, context.options.root);
}

std::vector<NamedTensor> filled_tensors(const DescribedTarget& described,
                                        const Storages& storages) {
  std::vector<NamedTensor> filled = described.target.tensors;
  for (size_t i = 0; i < filled.size(); ++i) filled[i].tensor = storages.tensor(i);
  return filled;
}

/// Puts what was filled behind the tensor objects that are there.
void hand_over(const FillContext& context, const DescribedTarget& described,
               const Storages& storages) {
  run_agreed(context.communicator, "finish", ErrorCode::kInternal, [&] {
    if (described.target.storage == StoragePolicy::kGiven) return;
    const at::NoGradGuard no_grad;
    std::unordered_set<const c10::TensorImpl*> done;
    for (size_t i = 0; i < described.target.tensors.size(); ++i) {
      const at::Tensor& tensor = described.target.tensors[i].tensor;
      if (!done.insert(tensor.unsafeGetTensorImpl()).second) continue;
      materialize_into(tensor, storages.tensor(i));
    }
  });
}

/// The phases that fill storages. They are kept for good where one of them breaks the GPU.
void fill_storages(const FillContext& context, const DescribedTarget& described,
                   PlannedFill& planned, Storages& storages, PhaseClock& clock,
                   FillReport& report) {
  try {
    clock.run_move("move", [&] { return move(context, described, planned, storages); });
    clock.run_move("replay", [&] { return replay(context, described, planned, storages); });
    planned.teacher.reset();
    if (context.options.verify) {
      report.digest = clock.run("verify", [&] {
        return verify_across_ranks(context.communicator, filled_tensors(described, storages),
                                   context.options.root);
      });
    }
    clock.run("finish", [&] { hand_over(context, described, storages); });
  } catch (const Error&) {
    if (!context.device.is_cpu() && !is_usable(context.device)) {
      keep_for_good(storages.all());
    }
    throw;
  }
}

}  // namespace
}  // namespace detail

FillReport fill_tensors(const TargetBuilder& build_target, const TeacherSource& teacher,
                        Communicator& communicator, const FillOptions& options) {
  using detail::PlannedFill;
  const detail::TimeoutScope timeout(communicator, options.timeout);
  const detail::NoInferenceMode no_inference;
  const detail::FillContext context{communicator, options,
                                    detail::device_for(options, communicator)};
  detail::PhaseClock clock;
  const auto described = clock.run("build", [&] { return detail::build(context, build_target); });
  clock.run("agree", [&] { detail::agree_on_target(context, described); });
  PlannedFill planned =
      clock.run("plan", [&] { return detail::plan_with_teacher(context, described, teacher); });
  detail::Storages storages = clock.run("place", [&] { return detail::place(context, described); });
  FillReport report;
  detail::fill_storages(context, described, planned, storages, clock, report);
  static_cast<KeyReport&>(report) = std::move(planned.keys);
  report.world_size = communicator.world_size();
  report.backend = communicator.bulk(context.device).backend();
  report.read = planned.decision.read;
  report.read_reason = std::move(planned.decision.reason);
  report.phases = std::move(clock).phases();
  detail::gather_report(communicator, context.device, report);
  return report;
}

FillReport fill_tensors(const FillTarget& target, const TeacherSource& teacher,
                        Communicator& communicator, const FillOptions& options) {
  return fill_tensors([&target] { return target; }, teacher, communicator, options);
}

}  // namespace fakescore
