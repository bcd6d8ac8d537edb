#pragma once

#include <array>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>

#include "comm/bulk/shared_memory/shared_ring.hpp"

namespace fakescore::detail {

/// The two sides of a stream have other operations in mind.
class DifferentStretches : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// One side of a ring, and what it has yet to move through it: stretches, each with its length
/// before it, which both sides have to know.
class SharedStream {
 public:
  /// The side that writes.
  explicit SharedStream(SharedRing ring) : ring_(std::move(ring)) {}
  /// The side that reads as `reader`.
  SharedStream(SharedRing ring, size_t reader) : ring_(std::move(ring)), reader_(reader) {}

  /// `done` is called once all of it has been moved. What has no bytes is no stretch.
  void add(std::byte* data, size_t bytes, std::function<void()> done);
  bool is_idle() const noexcept { return waiting_.empty(); }

  /// Moves one piece; false if there was no room, or nothing to take. Throws DifferentStretches.
  bool advance();

 private:
  using Head = std::array<std::byte, sizeof(uint64_t)>;
  struct Stretch {
    std::byte* data;
    size_t bytes;
    Head head;
    size_t head_moved;
    std::function<void()> done;
  };

  size_t move(std::byte* data, size_t bytes);
  void check_head(const Stretch& next) const;

  SharedRing ring_;
  std::optional<size_t> reader_;
  std::deque<Stretch> waiting_;
};

}  // namespace fakescore::detail
