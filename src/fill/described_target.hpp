#pragma once

#include <vector>

#include "fakescore/fill/fill_tensors.hpp"
#include "fakescore/tensor/manifest.hpp"
#include "tensor/byte_ranges.hpp"

namespace fakescore::detail {

/// A target, and what is known of it before anything is allocated.
struct DescribedTarget {
  FillTarget target;
  Manifest manifest;                             ///< of target.tensors
  std::vector<std::vector<ByteRange>> occupied;  ///< by alias group
  /// The same with whole tensors in the place of shards: alike on all ranks, so that one can plan
  /// for all. Alias groups have the same numbers.
  Manifest whole;
  std::vector<std::vector<ByteRange>> whole_occupied;

  bool is_shard(int64_t group) const { return manifest.first_of_group(group).shard.has_value(); }
};

/// What is replayed for tensor `index` of a target; undefined for nothing.
inline const at::Tensor& recorded_tensor(const FillTarget& target, size_t index) {
  return target.recorded.empty() ? target.tensors[index].tensor : target.recorded[index];
}

/// Those whose memory is there.
std::vector<NamedTensor> given_tensors(const FillTarget& target);

/// Throws ConfigError for a shard that is none (check_shards) and for given memory that is too
/// short, BuildError for a tensor without storage and for a recorded tensor that does not fit its
/// own.
DescribedTarget describe_target(FillTarget target);

}  // namespace fakescore::detail
