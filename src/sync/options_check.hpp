#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "fakescore/core/error.hpp"
#include "fakescore/sync/sync_module_states.hpp"

namespace fakescore::detail {

inline constexpr size_t kMinBucketBytes = 4096;
inline constexpr size_t kMinPinnedBytes = size_t{64} << 10;

inline size_t bucket_bytes_for(at::Device device, std::optional<size_t> chosen) {
  return chosen.value_or(device.is_cpu() ? kDefaultBucketBytes : kDefaultDeviceBucketBytes);
}

/// Throws ConfigError for a root outside the world or buckets too small to be of use.
inline void check_options(int world_size, int root, std::optional<size_t> bucket_bytes) {
  if (root < 0 || root >= world_size) {
    throw_error({ErrorCode::kConfig, -1, "", "option root",
                 std::to_string(root) + " is not a rank of a job of " + std::to_string(world_size) +
                     " ranks",
                 "give a rank from 0 to the world size less one"});
  }
  if (bucket_bytes && *bucket_bytes < kMinBucketBytes) {
    throw_error({ErrorCode::kConfig, -1, "", "option bucket_bytes",
                 std::to_string(*bucket_bytes) + " is less than " + std::to_string(kMinBucketBytes),
                 "leave it out: the default suits most jobs"});
  }
}

inline void check_pinned_bytes(size_t pinned_bytes) {
  if (pinned_bytes >= kMinPinnedBytes) return;
  throw_error({ErrorCode::kConfig, -1, "", "option pinned_bytes",
               std::to_string(pinned_bytes) + " is less than " + std::to_string(kMinPinnedBytes),
               "leave it out: the default suits most jobs"});
}

/// An option that ranks must agree on, in words.
inline std::string describe_bytes(std::optional<size_t> bytes) {
  return bytes ? std::to_string(*bytes) : "default";
}

}  // namespace fakescore::detail
