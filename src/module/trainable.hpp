#pragma once

#include <torch/nn/module.h>

#include <vector>

#include "fakescore/tensor/named_tensor.hpp"

namespace fakescore::detail {

/// A fake score is trained: what can have gradients gets them.
inline void require_gradients(at::Tensor parameter) {
  if (at::isFloatingType(parameter.scalar_type()) || at::isComplexType(parameter.scalar_type())) {
    parameter.set_requires_grad(true);
  }
}

/// `tensors` are those of the module.
inline void make_trainable(torch::nn::Module& module, const std::vector<NamedTensor>& tensors) {
  module.train();
  // A parameter may be listed first as a buffer of another module.
  for (const NamedTensor& entry : tensors) {
    if (entry.kind == TensorKind::kParameter) require_gradients(entry.tensor);
  }
}

}  // namespace fakescore::detail
