#pragma once

#include <ATen/core/Tensor.h>

namespace fakescore::detail {

/// A fake score is trained: what can have gradients gets them.
inline void require_gradients(at::Tensor parameter) {
  if (at::isFloatingType(parameter.scalar_type()) || at::isComplexType(parameter.scalar_type())) {
    parameter.set_requires_grad(true);
  }
}

}  // namespace fakescore::detail
