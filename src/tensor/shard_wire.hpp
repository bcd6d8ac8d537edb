#pragma once

#include <tuple>

#include "error/wire.hpp"
#include "fakescore/tensor/shard.hpp"

namespace fakescore {

/// Shards as part of what travels between ranks.
inline auto wire_fields(Box& box) { return std::tie(box.offsets, box.sizes); }

inline auto wire_fields(Shard& shard) {
  return std::tie(shard.global_sizes, shard.box, shard.flattened_from);
}

}  // namespace fakescore
