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

inline bool is_flattened(const Shard& shard) { return !shard.flattened_from.empty(); }

/// Of the tensor before anything was done to it: what a teacher has.
inline const std::vector<int64_t>& whole_sizes(const Shard& shard) {
  return is_flattened(shard) ? shard.flattened_from : shard.global_sizes;
}

/// Whether the same box is the same elements in both.
inline bool are_of_one_tensor(const Shard& a, const Shard& b) {
  return a.global_sizes == b.global_sizes && a.flattened_from == b.flattened_from;
}

inline int64_t elements_of(const Box& box) {
  int64_t count = 1;
  for (const int64_t size : box.sizes) count *= size;
  return count;
}

/// Whether the whole tensor is one dimension, with as many elements as it had before.
inline bool is_flattening(const Shard& shard) {
  if (!row_major_strides(shard.flattened_from)) return false;
  int64_t elements = 1;
  for (const int64_t size : shard.flattened_from) elements *= size;
  return shard.global_sizes == std::vector<int64_t>{elements};
}

/// Why a tensor of these sizes is not the part that it is said to be, for an error; empty if it is.
inline std::string problem_of(const Shard& shard, at::IntArrayRef sizes) {
  const bool fits = row_major_strides(shard.global_sizes) &&
                    lies_within(shard.box, shard.global_sizes) && sizes == shard.box.sizes;
  if (is_flattened(shard) && !is_flattening(shard)) {
    return c10::str("is said to be a part of a tensor of sizes ",
                    at::IntArrayRef(shard.global_sizes), " that one of sizes ",
                    at::IntArrayRef(shard.flattened_from), " was flattened to");
  }
  if (fits) return "";
  return c10::str("has sizes ", sizes, ", and is said to be the box of sizes ",
                  at::IntArrayRef(shard.box.sizes), " at ", at::IntArrayRef(shard.box.offsets),
                  " of a tensor of sizes ", at::IntArrayRef(shard.global_sizes));
}

inline constexpr const char* kBoxRemedy =
    "give the box that the tensor holds, within the whole tensor";

}  // namespace fakescore::detail
