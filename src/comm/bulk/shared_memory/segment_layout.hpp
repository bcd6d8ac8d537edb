#pragma once

#include <cstddef>

#include "comm/bulk/shared_memory/shared_ring.hpp"

namespace fakescore::detail {

/// How a rank's segment is cut: the counts of its rings, then their bytes. It has a ring for each
/// rank that it sends to, and, in its own place, one for what it broadcasts.
class SegmentLayout {
 public:
  /// What a rank broadcasts at a time, and what it sends to all others together.
  static constexpr size_t kRingBytes = size_t{8} << 20;

  explicit SegmentLayout(int world_size);

  size_t bytes() const { return offset_of_bytes(ranks_); }
  /// Of `rank`'s segment, the ring to rank `to`.
  RingMemory ring(std::byte* segment, int rank, int to) const;

 private:
  size_t counts_of_a_ring() const { return 1 + ranks_; }
  size_t offset_of_bytes(size_t ring) const;

  size_t ranks_;
  size_t capacity_;  ///< of each ring, but for that of broadcasts
};

}  // namespace fakescore::detail
