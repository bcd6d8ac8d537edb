#pragma once

#include <algorithm>
#include <cstddef>
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

/// Whether elements lie at these strides as row-major ones do. Those of dimensions of one element
/// do not matter; where a dimension has none, neither do its own and those before it.
inline bool is_row_major(const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides) {
  int64_t expected = 1;
  for (size_t i = sizes.size(); i-- > 0;) {
    if (sizes[i] == 0) return true;
    if (sizes[i] != 1 && strides[i] != expected) return false;
    expected *= sizes[i];
  }
  return true;
}

/// The bytes of a tensor of these sizes with at least one element along each dimension, whose
/// strides a tensor without elements has as well. Nullopt where a size is negative or the bytes do
/// not fit 63 bits.
inline std::optional<uint64_t> row_major_bytes(const std::vector<int64_t>& sizes,
                                               size_t element_bytes) {
  uint64_t bytes = element_bytes;
  for (const int64_t size : sizes) {
    const auto length = static_cast<uint64_t>(std::max<int64_t>(size, 1));
    if (size < 0 || __builtin_mul_overflow(bytes, length, &bytes) ||
        bytes > static_cast<uint64_t>(INT64_MAX)) {
      return std::nullopt;
    }
  }
  return bytes;
}

}  // namespace fakescore::detail
