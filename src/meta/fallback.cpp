#include "meta/fallback.hpp"

#include <ATen/ATen.h>
#include <dlfcn.h>
#include <torch/library.h>

#include <string>

#include "error/torch_error.hpp"
#include "fakescore/error.hpp"
#include "meta/guard_state.hpp"
#include "meta/op_info.hpp"
#include "meta/recorder.hpp"
#include "meta/recording_key.hpp"

namespace fakescore::detail {
namespace {

/// Sees every op of a thread that has a guard, above autograd and autocast, so that composites are
/// recorded whole.
void on_operator(const c10::OperatorHandle& op, c10::DispatchKeySet, Stack* stack) {
  const c10::impl::ExcludeDispatchKeyGuard no_recursion(recording_keys());
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
  call_seeded(op, info, stack, guard->seeds.value(guard->seeds.next(generator)));
}

std::string path_of_this_library() {
  Dl_info info{};
  const bool found = ::dladdr(reinterpret_cast<const void*>(&on_operator), &info) != 0;
  return found && info.dli_fname != nullptr ? info.dli_fname : "libfakescore.so";
}

torch::Library make_library() {
  const std::optional<c10::DispatchKey> key = recording_key();
  if (!key) {
    throw ConfigError("meta construction", "needs a dispatch key that this LibTorch does not have",
                      "build fakescore with a LibTorch that has DispatchKey::DeferredInit");
  }
  torch::Library library(torch::Library::IMPL, "_", *key, __FILE__, __LINE__);
  try {
    library.fallback(torch::CppFunction::makeFromBoxedFunction<&on_operator>());
  } catch (const c10::Error& error) {
    throw ConfigError(path_of_this_library(),
                      "is a second copy of fakescore in this process: " + describe(error),
                      "let everything in the process load the same libfakescore.so");
  }
  return library;
}

}  // namespace

void register_fallback() { static const torch::Library library = make_library(); }

}  // namespace fakescore::detail
