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
#include "fill/given_memory.hpp"
#include "fill/link_count.hpp"
#include "fill/manifest_agreement.hpp"
#include "fill/move_phase.hpp"
#include "fill/no_inference_mode.hpp"
#include "fill/phase_clock.hpp"
#include "fill/place_phase.hpp"
#include "fill/plan_phase.hpp"
#include "fill/replay_phase.hpp"
#include "fill/shards.hpp"
#include "fill/timeout_scope.hpp"
#include "tensor/broken_device.hpp"
#include "transfer/verify.hpp"
#include "transfer/verify_replicas.hpp"

namespace fakescore {
namespace detail {
namespace {

DescribedTarget build(const FillContext& context, const TargetBuilder& build_target) {
  DescribedTarget described;
  run_agreed(context.communicator, "build", ErrorCode::kBuild, [&] {
    check_fill_options(context.communicator.world_size(), context.options);
    context.communicator.bulk(context.device);  // throws where it cannot carry the target
    described = describe_target(build_target());
    require_device(given_tensors(described.target), context.device);
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
void hand_over(const DescribedTarget& described, const Storages& storages) {
  const at::NoGradGuard no_grad;
  std::unordered_set<const c10::TensorImpl*> done;
  for (size_t i = 0; i < described.target.tensors.size(); ++i) {
    const at::Tensor& tensor = described.target.tensors[i].tensor;
    if (described.target.tensors[i].shard) continue;  // filled in place
    if (!done.insert(tensor.unsafeGetTensorImpl()).second) continue;
    materialize_into(tensor, storages.tensor(i));
  }
}

void finish(const FillContext& context, const DescribedTarget& described,
            const Storages& storages) {
  run_agreed(context.communicator, "finish", ErrorCode::kInternal, [&] {
    if (described.target.storage == StoragePolicy::kAllocate) hand_over(described, storages);
    if (described.target.on_filled) described.target.on_filled(described.target.tensors);
  });
}

Digest verify(const FillContext& context, const std::vector<NamedTensor>& filled) {
  Communicator& communicator = context.communicator;
  const int root = context.options.root;
  const Digest whole = verify_across_ranks(communicator, without_shards(filled), root);
  const std::vector<NamedTensor> shards = shards_of(filled);
  if (shards.empty()) return whole;
  DigestSequence all;
  all.add(whole);
  all.add(verify_replicas(communicator, shards, root));
  return all.value();
}

/// The phases from the first byte on, and the report.
FillReport fill_storages(const FillContext& context, DescribedTarget& described,
                         PlannedFill planned, Storages& storages, PhaseClock clock) {
  FillReport report;
  LinkCount links(context.communicator.rank(),
                  clock.run("place", [&] { return place(context, described, storages); }));
  uint64_t read = 0;
  clock.run_move("move", [&] {
    const MovedBytes moved = move(context, described, planned, storages, links);
    read = moved.read;
    return moved.all;
  });
  clock.run_move("replay", [&] { return replay(context, described, planned, storages, links); });
  planned.teacher.reset();
  described.target.tape.reset();
  if (context.options.verify) {
    report.digest =
        clock.run("verify", [&] { return verify(context, filled_tensors(described, storages)); });
  }
  clock.run("finish", [&] { finish(context, described, storages); });
  static_cast<KeyReport&>(report) = std::move(planned.keys);
  report.world_size = context.communicator.world_size();
  report.backend = context.communicator.bulk(context.device).backend();
  report.read = planned.decision.read;
  report.read_reason = std::move(planned.decision.reason);
  report.phases = std::move(clock).phases();
  gather_report(context, read, links, report);
  return report;
}

}  // namespace
}  // namespace detail

FillReport fill_tensors(const TargetBuilder& build_target, const TeacherSource& teacher,
                        Communicator& communicator, const FillOptions& options) {
  const detail::TimeoutScope timeout(communicator, options.timeout);
  const detail::NoInferenceMode no_inference;
  const detail::FillContext context{communicator, options,
                                    detail::device_for(options, communicator)};
  detail::PhaseClock clock;
  auto described = clock.run("build", [&] { return detail::build(context, build_target); });
  clock.run("agree", [&] { detail::agree_on_target(context, described); });
  auto planned =
      clock.run("plan", [&] { return detail::plan_with_teacher(context, described, teacher); });
  detail::Storages storages(described.manifest, context.device);
  try {
    return detail::fill_storages(context, described, std::move(planned), storages,
                                 std::move(clock));
  } catch (const Error&) {
    // LibTorch ends the process where such memory is freed.
    if (!context.device.is_cpu() && !detail::is_usable(context.device)) {
      detail::keep_for_good(storages.all());
    }
    throw;
  }
}

FillReport fill_tensors(const FillTarget& target, const TeacherSource& teacher,
                        Communicator& communicator, const FillOptions& options) {
  return fill_tensors([&target] { return target; }, teacher, communicator, options);
}

}  // namespace fakescore
