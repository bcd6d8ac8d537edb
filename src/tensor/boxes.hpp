#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/StringUtil.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "fakescore/tensor/shard.hpp"
#include "tensor/row_major.hpp"

namespace fakescore::detail {

/// Whether a box has as many dimensions as a tensor of these sizes, and lies within it.
inline bool lies_within(const Box& box, const std::vector<int64_t>& sizes) {
  if (box.offsets.size() != sizes.size() || box.sizes.size() != sizes.size()) return false;
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (box.offsets[i] < 0 || box.sizes[i] < 0 || box.offsets[i] > sizes[i] - box.sizes[i]) {
      return false;
    }
  }
  return true;
}

inline int64_t elements_of(const Box& box) {
  int64_t count = 1;
  for (const int64_t size : box.sizes) count *= size;
  return count;
}

/// Why a tensor of these sizes is not the part that it is said to be, for an error; empty if it is.
inline std::string problem_of(const Shard& shard, at::IntArrayRef sizes) {
  const bool fits = row_major_strides(shard.global_sizes) &&
                    lies_within(shard.box, shard.global_sizes) && sizes == shard.box.sizes;
  if (fits) return "";
  return c10::str("has sizes ", sizes, ", and is said to be the box of sizes ", shard.box.sizes,
                  " at ", shard.box.offsets, " of a tensor of sizes ", shard.global_sizes);
}

inline constexpr const char* kBoxRemedy =
    "give the box that the tensor holds, within the whole tensor";

}  // namespace fakescore::detail
