#pragma once

#include <cstddef>
#include <string>

#include "fakescore/comm/communicator.hpp"
#include "fakescore/core/error.hpp"

namespace fakescore::detail {

inline constexpr size_t kMinBucketBytes = 4096;

/// Throws ConfigError for a root outside the communicator or buckets too small to be of use.
inline void check_options(const Communicator& communicator, int root, size_t bucket_bytes) {
  if (root < 0 || root >= communicator.world_size()) {
    throw_error(
        {ErrorCode::kConfig, -1, "", "option root",
         std::to_string(root) + " is not a rank of " + std::to_string(communicator.world_size()),
         "give a rank from 0 to the world size less one"});
  }
  if (bucket_bytes < kMinBucketBytes) {
    throw_error({ErrorCode::kConfig, -1, "", "option bucket_bytes",
                 std::to_string(bucket_bytes) + " is less than " + std::to_string(kMinBucketBytes),
                 "1 MiB suits most jobs"});
  }
}

}  // namespace fakescore::detail
