#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

namespace fakescore::detail {

/// The strides, in elements, of a row-major tensor of these sizes. Nullopt where a size is negative
/// or where a stride, or the number of elements with at least one along each dimension, does not
/// fit 64 bits: LibTorch makes no such tensor, not even one without elements.
inline std::optional<std::vector<int64_t>> row_major_strides(const std::vector<int64_t>& sizes) {
  std::vector<int64_t> strides(sizes.size());
  int64_t stride = 1;
  for (size_t i = sizes.size(); i > 0; --i) {
    strides[i - 1] = stride;
    const int64_t size = sizes[i - 1];
    if (size < 0 || __builtin_mul_overflow(stride, std::max<int64_t>(size, 1), &stride)) {
      return std::nullopt;
    }
  }
  return strides;
}

}  // namespace fakescore::detail
