#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "comm/control/chunked_broadcast.hpp"
#include "fakescore/comm/bulk_plane.hpp"

namespace fakescore::detail {

/// A parcel on its way through a store; one of no bytes has no chunks.
struct ChunkedParcel {
  std::string way;  ///< what its keys begin with
  int rank = 0;     ///< the other one
  uint8_t* data = nullptr;
  int64_t bytes = 0;
  int64_t next_chunk = 0;

  bool finished() const { return next_chunk * kStoreChunk >= bytes; }
  uint8_t* chunk_data() const { return data + next_chunk * kStoreChunk; }
  size_t chunk_bytes() const {
    return static_cast<size_t>(std::min(kStoreChunk, bytes - next_chunk * kStoreChunk));
  }
  std::string key() const { return way + std::to_string(next_chunk); }
};

}  // namespace fakescore::detail
