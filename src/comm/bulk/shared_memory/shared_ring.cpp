#include "comm/bulk/shared_memory/shared_ring.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

namespace fakescore::detail {
namespace {

constexpr size_t kPieceBytes = size_t{256} << 10;

using Count = std::atomic_ref<uint64_t>;
// A lock would be this process's alone.
static_assert(Count::is_always_lock_free);

/// Calls `copy` with the stretches of a ring that hold `bytes` from `begin` on: two where the end
/// of the ring lies between.
template <typename Copy>
void for_each_stretch(const RingMemory& memory, uint64_t begin, size_t bytes, Copy copy) {
  const auto offset = static_cast<size_t>(begin % memory.capacity);
  const size_t before_end = std::min(bytes, memory.capacity - offset);
  copy(memory.bytes + offset, size_t{0}, before_end);
  if (before_end < bytes) copy(memory.bytes, before_end, bytes - before_end);
}

}  // namespace

SharedRing::SharedRing(RingMemory memory, std::vector<size_t> readers)
    : memory_(memory), readers_(std::move(readers)) {}

size_t SharedRing::write(const std::byte* from, size_t bytes) {
  const uint64_t begin = memory_.written->bytes;  // of this process alone
  uint64_t in_ring = 0;
  for (const size_t reader : readers_) {
    const uint64_t taken = Count(memory_.taken[reader].bytes).load(std::memory_order_acquire);
    in_ring = std::max(in_ring, begin - taken);
  }
  const size_t room = memory_.capacity - static_cast<size_t>(in_ring);
  const size_t moved = std::min({bytes, room, kPieceBytes});
  for_each_stretch(memory_, begin, moved, [&](std::byte* place, size_t done, size_t count) {
    std::memcpy(place, from + done, count);
  });
  Count(memory_.written->bytes).store(begin + moved, std::memory_order_release);
  return moved;
}

size_t SharedRing::read(size_t reader, std::byte* to, size_t bytes) {
  const uint64_t begin = memory_.taken[reader].bytes;  // of this process alone
  const uint64_t written = Count(memory_.written->bytes).load(std::memory_order_acquire);
  const size_t moved = std::min({bytes, static_cast<size_t>(written - begin), kPieceBytes});
  for_each_stretch(memory_, begin, moved, [&](const std::byte* place, size_t done, size_t count) {
    std::memcpy(to + done, place, count);
  });
  Count(memory_.taken[reader].bytes).store(begin + moved, std::memory_order_release);
  return moved;
}

}  // namespace fakescore::detail
