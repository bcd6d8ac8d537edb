#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "fakescore/tensor/manifest.hpp"
#include "fakescore/tensor/named_tensor.hpp"
#include "tensor/byte_ranges.hpp"

namespace fakescore::detail {

/// Throws ConfigError for a shard that is not row-major, whose box is not of its sizes or does not
/// lie within the whole tensor, of a whole tensor that LibTorch could not make, or that shares its
/// storage with anything but other names of itself.
void check_shards(const Manifest& manifest);

bool has_shards(const Manifest& manifest);
std::vector<NamedTensor> shards_of(std::vector<NamedTensor> tensors);
std::vector<NamedTensor> without_shards(std::vector<NamedTensor> tensors);
inline bool is_shard(const TensorSpec& spec) { return spec.shard.has_value(); }

/// Where a tensor lies in the whole one; of a tensor that is whole, all of it.
Shard shard_of(const TensorSpec& spec);

/// What a rank holds of a whole tensor, which has the sizes that it had before it was flattened: a
/// view of it, or of a copy where it is flattened and not row-major.
at::Tensor box_of(const at::Tensor& whole, const std::optional<Shard>& shard);

/// Where a box lies among the elements of the whole tensor, in bytes; nullopt if not in one
/// stretch.
std::optional<ByteRange> stretch_of(const Shard& shard, size_t element_bytes);

}  // namespace fakescore::detail
