#include "fakescore/core/module_tensors.hpp"

#include <torch/nn/module.h>

#include <algorithm>

#include "fakescore/core/non_persistent.hpp"

namespace fakescore {
namespace {

void collect(const torch::nn::Module& module, const std::string& prefix,
             std::vector<ModuleTensor>& tensors) {
  std::vector<std::string> non_persistent;
  if (const auto* declares = dynamic_cast<const NonPersistentBuffers*>(&module)) {
    non_persistent = declares->non_persistent_buffers();
  }
  for (const auto& parameter : module.named_parameters(/*recurse=*/false)) {
    tensors.push_back({prefix + parameter.key(), parameter.value(), TensorKind::kParameter});
  }
  for (const auto& buffer : module.named_buffers(/*recurse=*/false)) {
    const bool listed = std::find(non_persistent.begin(), non_persistent.end(), buffer.key()) !=
                        non_persistent.end();
    tensors.push_back({prefix + buffer.key(), buffer.value(),
                       listed ? TensorKind::kNonPersistentBuffer : TensorKind::kBuffer});
  }
  for (const auto& child : module.named_children()) {
    collect(*child.value(), prefix + child.key() + ".", tensors);
  }
}

}  // namespace

std::vector<ModuleTensor> module_tensors(const torch::nn::Module& module) {
  std::vector<ModuleTensor> tensors;
  collect(module, "", tensors);
  return tensors;
}

const char* to_string(TensorKind kind) noexcept {
  switch (kind) {
    case TensorKind::kParameter:
      return "parameter";
    case TensorKind::kBuffer:
      return "buffer";
    case TensorKind::kNonPersistentBuffer:
      return "non-persistent buffer";
    case TensorKind::kUnregistered:
      return "unregistered tensor";
  }
  return "tensor";
}

}  // namespace fakescore
