#pragma once

#include <vector>

#include "fakescore/tensor/named_tensor.hpp"

namespace fakescore::python {

/// Says which of the tensors, by index, are parts of larger ones: of what sizes, where in them, and
/// from what sizes these were flattened, if they were.
inline void set_shards(std::vector<NamedTensor>& tensors, const std::vector<int64_t>& indices,
                       const std::vector<std::vector<int64_t>>& global_sizes,
                       const std::vector<std::vector<int64_t>>& offsets,
                       const std::vector<std::vector<int64_t>>& flattened_from) {
  for (size_t i = 0; i < indices.size(); ++i) {
    NamedTensor& entry = tensors.at(static_cast<size_t>(indices[i]));
    entry.shard = Shard{
        global_sizes.at(i), {offsets.at(i), entry.tensor.sizes().vec()}, flattened_from.at(i)};
  }
}

}  // namespace fakescore::python
