#include "module/build_target.hpp"

#include <torch/nn/module.h>

#include <string>
#include <unordered_set>
#include <vector>

#include "fakescore/error.hpp"
#include "fakescore/fill/cast_tensors.hpp"
#include "fakescore/module/module_tensors.hpp"

namespace fakescore::detail {
namespace {

void add_unregistered_tensors(const InitTape& tape, std::vector<NamedTensor>& tensors) {
  std::unordered_set<const c10::TensorImpl*> registered;
  for (const NamedTensor& entry : tensors) registered.insert(entry.tensor.unsafeGetTensorImpl());
  size_t count = 0;
  for (const at::Tensor& tensor : tape.live_tensors()) {
    if (!registered.insert(tensor.unsafeGetTensorImpl()).second) continue;
    tensors.push_back(
        {"(unregistered " + std::to_string(count++) + ")", tensor, TensorKind::kUnregistered});
  }
}

}  // namespace

BuiltModule build_target(const ModuleBuilder& build, const MetaOptions& options) {
  const MetaInitGuard guard(options.init);
  BuiltModule built;
  built.module = build ? build() : nullptr;
  if (!built.module) {
    throw BuildError("build", "is empty or returned no module",
                     "pass a callable that returns a module");
  }
  FillTarget& target = built.target;
  target.tape = guard.tape();
  target.tensors = module_tensors(*built.module);
  add_unregistered_tensors(*target.tape, target.tensors);
  cast_floating_tensors(target.tensors, options);
  target.settings = describe(options);
  return built;
}

}  // namespace fakescore::detail
