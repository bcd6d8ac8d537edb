#pragma once

#include <torch/nn/module.h>

namespace fakescore::detail {

/// A fake score is trained: what can have gradients gets them.
inline void require_gradients(at::Tensor parameter) {
  if (at::isFloatingType(parameter.scalar_type()) || at::isComplexType(parameter.scalar_type())) {
    parameter.set_requires_grad(true);
  }
}

inline void make_trainable(torch::nn::Module& module) {
  module.train();
  for (const at::Tensor& parameter : module.parameters()) require_gradients(parameter);
}

}  // namespace fakescore::detail
