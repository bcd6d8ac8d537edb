// Every aten operator that has a CUDA kernel runs on the CPU, but for those that only touch memory
// or describe it: they need no kernel of the device.
#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/native/CPUFallback.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "emulation.hpp"
#include "ops/device_copy.hpp"

namespace fakescore::emulation {
namespace {

/// What LibTorch does without a kernel.
constexpr std::array kKept{"_local_scalar_dense",
                           "_pin_memory",
                           "_reshape_alias",
                           "as_strided",
                           "empty.memory_format",
                           "empty_strided",
                           "is_pinned",
                           "is_set_to",
                           "record_stream",
                           "resize_",
                           "set_",
                           "set_.source_Storage",
                           "set_.source_Storage_storage_offset",
                           "set_.source_Tensor",
                           "unfold",
                           "view",
                           "view_as_complex",
                           "view_as_real",
                           "zero_"};

/// What has a body of its own here.
constexpr std::array kReplaced{"copy_", "_copy_from_and_resize", "_foreach_copy_"};

class OperatorScope {
 public:
  explicit OperatorScope(std::string name) : before_(attached()->set_operator(std::move(name))) {}
  ~OperatorScope() { attached()->set_operator(before_); }
  OperatorScope(const OperatorScope&) = delete;
  OperatorScope& operator=(const OperatorScope&) = delete;

 private:
  std::string before_;
};

void run_on_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const OperatorScope scope(op.schema().name());
  at::native::cpu_fallback(op, stack, /*error_on_views=*/false);
}

at::Tensor copy_and_resize(const at::Tensor& from, const at::Tensor& to) {
  to.resize_(from.sizes());
  to.copy_(from);
  return to;
}

/// On a device one kernel copies many tensors; here each is a copy of its own on the stream.
void copy_each(at::TensorList to, at::TensorList from, bool non_blocking) {
  for (size_t i = 0; i < to.size(); ++i) {
    at::Tensor target = to[i];
    copy_on_stream(target, from[i], non_blocking);
  }
}

bool returns_view(const c10::FunctionSchema& schema) {
  return std::any_of(schema.returns().begin(), schema.returns().end(), [](const auto& result) {
    return result.alias_info() != nullptr && !result.alias_info()->isWrite();
  });
}

/// LibTorch warns of every operator that is registered twice, as all of these are.
class NoWarnings : public c10::WarningHandler {
  void process(const c10::Warning&) override {}
};

void register_all(torch::Library& library) {
  constexpr std::string_view kNamespace = "aten::";
  NoWarnings no_warnings;
  const c10::WarningUtils::WarningHandlerGuard guard(&no_warnings);
  library.impl("copy_", copy_on_stream);
  library.impl("_copy_from_and_resize", copy_and_resize);
  library.impl("_foreach_copy_", copy_each);
  auto& dispatcher = c10::Dispatcher::singleton();
  for (const c10::OperatorName& op : dispatcher.getAllOpNames()) {
    if (!op.name.starts_with(kNamespace)) continue;
    const std::string name = op.name.substr(kNamespace.size()) +
                             (op.overload_name.empty() ? "" : "." + op.overload_name);
    if (std::find(kReplaced.begin(), kReplaced.end(), name) != kReplaced.end()) continue;
    if (std::find(kKept.begin(), kKept.end(), name) != kKept.end()) continue;
    const auto handle = dispatcher.findSchema(op);
    if (!handle || !handle->hasKernelForDispatchKey(c10::DispatchKey::CUDA)) continue;
    if (returns_view(handle->schema())) continue;
    library.impl(name.c_str(), torch::CppFunction::makeFromBoxedFunction<&run_on_cpu>());
  }
}

}  // namespace
}  // namespace fakescore::emulation

// Libraries are initialised after those they need, so libtorch_cuda has registered its kernels.
TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  if (fakescore::emulation::is_active()) fakescore::emulation::register_all(library);
}
