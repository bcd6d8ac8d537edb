#include "comm/bulk/shared_memory/shared_stream.hpp"

#include <cstring>

namespace fakescore::detail {

void SharedStream::add(std::byte* data, size_t bytes, const std::string& what,
                       std::function<void()> done) {
  Head head{};
  const uint64_t length = bytes;
  std::memcpy(head.data(), &length, head.size());
  waiting_.push_back({data, bytes, head, 0, what, std::move(done)});
}

size_t SharedStream::move(std::byte* data, size_t bytes) {
  return reader_ ? ring_.read(*reader_, data, bytes) : ring_.write(data, bytes);
}

bool SharedStream::advance() {
  if (waiting_.empty()) return false;
  Stretch& next = waiting_.front();
  if (next.head_moved < next.head.size()) {
    const size_t moved =
        move(next.head.data() + next.head_moved, next.head.size() - next.head_moved);
    next.head_moved += moved;
    if (next.head_moved == next.head.size()) check_head(next);
    return moved > 0;
  }
  const size_t moved = move(next.data, next.bytes);
  next.data += moved;
  next.bytes -= moved;
  if (next.bytes > 0) return moved > 0;
  const auto done = std::move(next.done);
  waiting_.pop_front();
  done();
  return true;
}

/// A reader's head held what it expects until the writer's came.
void SharedStream::check_head(const Stretch& next) const {
  uint64_t length = 0;
  std::memcpy(&length, next.head.data(), next.head.size());
  if (length == next.bytes) return;
  throw DifferentStretches(next.what, "it sends " + std::to_string(length) + " bytes where " +
                                          std::to_string(next.bytes) + " are expected");
}

}  // namespace fakescore::detail
