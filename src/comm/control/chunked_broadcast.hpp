#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "comm/control/step.hpp"

namespace fakescore::detail {

/// Bytes of one message of a broadcast through a store.
inline constexpr int64_t kStoreChunk = 1 << 20;

/// A broadcast that this rank has begun.
struct ChunkedBroadcast {
  uint64_t number = 0;
  Step step;
  at::Tensor buffer;
  int64_t next_chunk = 0;

  int64_t chunks() const {
    return std::max<int64_t>(1, (step.bytes + kStoreChunk - 1) / kStoreChunk);
  }
  bool finished() const { return next_chunk == chunks(); }
  uint8_t* chunk_data() const {
    return static_cast<uint8_t*>(buffer.mutable_data_ptr()) + next_chunk * kStoreChunk;
  }
  size_t chunk_bytes() const {
    return static_cast<size_t>(std::min(kStoreChunk, step.bytes - next_chunk * kStoreChunk));
  }
  std::string key() const {
    std::string key = std::to_string(number) + "/" + std::to_string(step.root);
    if (next_chunk > 0) key.append(".").append(std::to_string(next_chunk));
    return key;
  }
};

}  // namespace fakescore::detail
