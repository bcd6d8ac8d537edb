#pragma once

#include <ATen/core/Tensor.h>

namespace fakescore::detail {

/// Copies into a tensor that may be expanded: torch refuses to write an element twice.
inline void copy_once(at::Tensor to, at::Tensor from) {
  for (int64_t i = 0; i < to.dim(); ++i) {
    if (to.stride(i) != 0 || to.size(i) < 2) continue;
    to = to.narrow(i, 0, 1);
    from = from.narrow(i, 0, 1);
  }
  // Between float and half, torch's copy_ does not see that a tensor is a lazy negative.
  if (to.is_neg() || from.is_neg()) from = from.to(to.scalar_type());
  to.copy_(from);
}

}  // namespace fakescore::detail
