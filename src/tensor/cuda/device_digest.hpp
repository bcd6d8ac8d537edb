#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "fakescore/tensor/digest.hpp"

namespace fakescore::detail {

/// A tensor's values in logical order, copied only where they do not lie so.
inline at::Tensor row_major(const at::Tensor& tensor) {
  return tensor.detach().resolve_conj().resolve_neg().contiguous();
}

/// Digests of tensors on one GPU, computed there, on the current stream; blocks until
/// they are known. Equal to digest_bytes of the same bytes on the host.
std::vector<Digest> digest_device_tensors(const std::vector<at::Tensor>& tensors);

}  // namespace fakescore::detail
