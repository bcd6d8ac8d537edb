#include "factory/meta_structure.hpp"

#include <torch/nn/module.h>

#include <string>
#include <unordered_set>

#include "factory/cast_module.hpp"
#include "fakescore/core/error.hpp"

namespace fakescore::detail {
namespace {

void add_unregistered_tensors(const InitTape& tape, std::vector<ModuleTensor>& tensors) {
  std::unordered_set<const c10::TensorImpl*> registered;
  for (const ModuleTensor& entry : tensors) registered.insert(entry.tensor.unsafeGetTensorImpl());
  size_t count = 0;
  for (const at::Tensor& tensor : tape.live_tensors()) {
    if (!registered.insert(tensor.unsafeGetTensorImpl()).second) continue;
    tensors.push_back(
        {"(unregistered " + std::to_string(count++) + ")", tensor, TensorKind::kUnregistered});
  }
}

}  // namespace

MetaStructure build_structure(const ModuleBuilder& build, const MetaOptions& options) {
  const MetaInitGuard guard(options.init);
  MetaStructure structure;
  structure.tape = guard.tape();
  structure.module = build ? build() : nullptr;
  if (!structure.module) {
    throw_error({ErrorCode::kBuild, -1, "", "build", "is empty or returned no module",
                 "pass a callable that returns a module"});
  }
  cast_floating_tensors(*structure.module, options, structure.tape.get());
  structure.tensors = module_tensors(*structure.module);
  add_unregistered_tensors(*structure.tape, structure.tensors);
  structure.manifest = Manifest(structure.tensors);
  structure.occupied = occupied_bytes_by_group(structure.manifest);
  return structure;
}

}  // namespace fakescore::detail
