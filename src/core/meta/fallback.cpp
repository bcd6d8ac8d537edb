#include <ATen/ATen.h>
#include <torch/library.h>

#include "core/meta/guard_state.hpp"
#include "core/meta/op_info.hpp"
#include "core/meta/recorder.hpp"

namespace fakescore::detail {
namespace {

/// Sees every op of a thread that has a guard, above autograd and autocast, so that composites are
/// recorded whole.
void on_operator(const c10::OperatorHandle& op, c10::DispatchKeySet, Stack* stack) {
  const c10::impl::ExcludeDispatchKeyGuard no_recursion(c10::DispatchKey::DeferredInit);
  MetaInitGuard::State* guard = current_guard();
  if (guard == nullptr) {
    refuse("build", op.schema().name(),
           "runs on a thread that inherited a MetaInitGuard's dispatch key but not its tape",
           "build the module on one thread");
  }
  if (guard->tape) {
    Recorder(op, *guard->tape, *stack).run();
    return;
  }
  const OpInfo& info = op_info(op);
  if (!info.random || guard->seeds.mode() == RandomMode::kSequential) {
    op.callBoxed(stack);
    return;
  }
  const c10::IValue generator =
      info.generator ? stack_argument(*stack, info.writes.size(), *info.generator) : c10::IValue();
  call_seeded(op, info, stack, guard->seeds.next(generator));
}

}  // namespace
}  // namespace fakescore::detail

TORCH_LIBRARY_IMPL(_, DeferredInit, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&fakescore::detail::on_operator>());
}
