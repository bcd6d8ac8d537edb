#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fakescore::detail {

/// How many bytes went through a ring, in memory of several processes: a cache line of its own.
struct alignas(64) SharedCount {
  uint64_t bytes = 0;
};

/// Where a ring lies: `taken` has a count for each reader; zero is where all begin.
struct RingMemory {
  SharedCount* written = nullptr;
  SharedCount* taken = nullptr;
  std::byte* bytes = nullptr;
  size_t capacity = 0;
};

/// A stream of bytes through memory that several processes map: one of them writes, and each of its
/// readers takes all of it. Neither waits; both move what there is room for, in pieces, so that the
/// other side can begin.
class SharedRing {
 public:
  /// `readers` are the counts of `memory.taken` that this ring waits for.
  SharedRing(RingMemory memory, std::vector<size_t> readers);

  /// By the writer: how many of the bytes there was room for.
  size_t write(const std::byte* from, size_t bytes);
  /// By a reader: how many of the bytes had been written.
  size_t read(size_t reader, std::byte* to, size_t bytes);

 private:
  RingMemory memory_;
  std::vector<size_t> readers_;
};

}  // namespace fakescore::detail
