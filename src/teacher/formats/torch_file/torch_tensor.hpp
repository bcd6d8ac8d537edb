#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace fakescore::detail {

/// One tensor of a file: its elements in the file's memory, by sizes and strides.
struct TorchTensor {
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> sizes;
  std::vector<int64_t> strides;       ///< in elements; not negative
  std::span<const std::byte> memory;  ///< from the first element to the end of the last
  bool conjugate = false;             ///< the value is the conjugate of what the archive holds
  bool negative = false;              ///< the value is the negative of what the archive holds
};

/// A view of the archive's memory, which `keep` keeps; a copy where that is not aligned, and where
/// the value differs from what is stored.
at::Tensor read_torch_tensor(const TorchTensor& tensor, std::shared_ptr<const void> keep);

}  // namespace fakescore::detail
