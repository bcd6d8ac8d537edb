#pragma once

#include <c10/core/Device.h>

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "fakescore/comm/communicator.hpp"
#include "fakescore/fill/fill_options.hpp"
#include "fakescore/tensor/named_tensor.hpp"

namespace fakescore::detail {

inline constexpr size_t kMinBucketBytes = 4096;
inline constexpr size_t kMinPinnedBytes = size_t{64} << 10;

size_t bucket_bytes_for(at::Device device, std::optional<size_t> chosen);

/// Throws ConfigError for a root outside the world or buckets too small to be of use.
void check_root_and_buckets(int world_size, int root, std::optional<size_t> bucket_bytes);

/// Throws ConfigError for options that cannot work.
void check_fill_options(int world_size, const FillOptions& options);

/// Throws ConfigError for the first tensor that is a shard.
void require_whole(const std::vector<NamedTensor>& tensors);

/// Where the tensors go: "cuda" alone is the communicator's GPU.
at::Device device_for(const FillOptions& options, const Communicator& communicator);

/// What ranks must agree on, in words.
std::string describe_bytes(std::optional<size_t> bytes);
std::string describe_options(const FillOptions& options, at::Device device);

}  // namespace fakescore::detail
