#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "fakescore/tensor/shard.hpp"

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

}  // namespace fakescore::detail
