#pragma once

#include <cstddef>

namespace fakescore {

/// Bytes of one broadcast of host memory, and of a GPU's, unless an option says otherwise.
inline constexpr size_t kDefaultBucketBytes = size_t{1} << 20;
inline constexpr size_t kDefaultDeviceBucketBytes = size_t{32} << 20;
/// Pinned host memory of a rank that feeds its GPU, unless an option says otherwise.
inline constexpr size_t kDefaultPinnedBytes = size_t{64} << 20;

}  // namespace fakescore
