#include "fakescore/module/module_tensors.hpp"

#include <torch/nn/module.h>

#include <unordered_set>

#include "fakescore/module/non_persistent.hpp"

namespace fakescore {
namespace {

void collect(const torch::nn::Module& module, const std::string& prefix,
             std::vector<NamedTensor>& tensors) {
  std::unordered_set<std::string> non_persistent;
  if (const auto* declares = dynamic_cast<const NonPersistentBuffers*>(&module)) {
    const auto names = declares->non_persistent_buffers();
    non_persistent.insert(names.begin(), names.end());
  }
  for (const auto& parameter : module.named_parameters(/*recurse=*/false)) {
    tensors.push_back({prefix + parameter.key(), parameter.value(), TensorKind::kParameter});
  }
  for (const auto& buffer : module.named_buffers(/*recurse=*/false)) {
    const bool listed = non_persistent.contains(buffer.key());
    tensors.push_back({prefix + buffer.key(), buffer.value(),
                       listed ? TensorKind::kNonPersistentBuffer : TensorKind::kBuffer});
  }
  for (const auto& child : module.named_children()) {
    collect(*child.value(), prefix + child.key() + ".", tensors);
  }
}

}  // namespace

std::vector<NamedTensor> module_tensors(const torch::nn::Module& module) {
  std::vector<NamedTensor> tensors;
  collect(module, "", tensors);
  return tensors;
}

}  // namespace fakescore
