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
};

/// Throws ConfigError for a shard and for given memory that is too short, BuildError for a tensor
/// without storage.
DescribedTarget describe_target(FillTarget target);

}  // namespace fakescore::detail
