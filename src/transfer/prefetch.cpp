#include "transfer/prefetch.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <span>

namespace fakescore::detail {
namespace {

/// As long as a stretch that one rank reads in its turn.
constexpr size_t kAhead = size_t{64} << 20;

/// A hint: where it is refused, pages are read when they are touched.
void will_need(std::span<const std::byte> memory) {
  static const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(memory.data()) & ~(page - 1);
  const auto end = reinterpret_cast<uintptr_t>(memory.data()) + memory.size();
  static_cast<void>(::madvise(reinterpret_cast<void*>(begin), end - begin,  // NOLINT
                              MADV_WILLNEED));
}

}  // namespace

Prefetch::Prefetch(const std::vector<Transfer>& transfers, const std::vector<Bucket>& buckets,
                   int rank)
    : transfers_(transfers), buckets_(buckets), rank_(rank) {
  const bool has_turns = std::any_of(buckets.begin(), buckets.end(), [&](const Bucket& bucket) {
    return bucket.root != buckets.front().root;
  });
  if (!has_turns) next_ = buckets.size();
}

void Prefetch::advance(size_t bucket) {
  if (bucket > 0 && buckets_[bucket - 1].root == rank_ && ahead_bytes_ > 0) {
    ahead_bytes_ -= buckets_[bucket - 1].bytes;
  }
  for (; next_ < buckets_.size() && ahead_bytes_ < kAhead; ++next_) {
    if (buckets_[next_].root != rank_) continue;
    ask_for(buckets_[next_]);
    ahead_bytes_ += buckets_[next_].bytes;
  }
}

void Prefetch::ask_for(const Bucket& bucket) const {
  for (const Piece& piece : bucket.pieces) {
    const auto* file = std::get_if<InFile>(&transfers_[piece.transfer].source);
    if (file != nullptr) {
      will_need(file->bytes->memory().subspan(piece.wire_begin, piece.wire_bytes));
    }
  }
}

}  // namespace fakescore::detail
