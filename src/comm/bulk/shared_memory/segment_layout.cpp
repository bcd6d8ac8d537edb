#include "comm/bulk/shared_memory/segment_layout.hpp"

#include <algorithm>

#include "tensor/align_up.hpp"

namespace fakescore::detail {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kLeastBytes = size_t{256} << 10;

}  // namespace

SegmentLayout::SegmentLayout(int world_size)
    : ranks_(static_cast<size_t>(world_size)),
      capacity_(
          align_up(std::max(kLeastBytes, kRingBytes / std::max<size_t>(ranks_ - 1, 1)), kPage)) {}

/// The last ring is that of broadcasts: it changes places with this rank's own.
RingMemory SegmentLayout::ring(std::byte* segment, int rank, int to) const {
  auto* const counts = reinterpret_cast<SharedCount*>(segment);
  SharedCount* const own = counts + static_cast<size_t>(to) * counts_of_a_ring();
  const bool is_broadcast = rank == to;
  const size_t place = is_broadcast ? ranks_ - 1 : static_cast<size_t>(to > rank ? to - 1 : to);
  return {own, own + 1, segment + offset_of_bytes(place), is_broadcast ? kRingBytes : capacity_};
}

size_t SegmentLayout::offset_of_bytes(size_t ring) const {
  const size_t counts = align_up(ranks_ * counts_of_a_ring() * sizeof(SharedCount), kPage);
  const bool is_end = ring == ranks_;
  return counts + (is_end ? (ranks_ - 1) * capacity_ + kRingBytes : ring * capacity_);
}

}  // namespace fakescore::detail
