#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "comm/bulk/shared_memory/shared_ring.hpp"

namespace fakescore::detail {

/// The two sides of a stream have other operations in mind; `operation` is this side's.
class DifferentStretches : public std::runtime_error {
 public:
  DifferentStretches(std::string operation, const std::string& problem)
      : std::runtime_error(problem), operation_(std::move(operation)) {}
  const std::string& operation() const noexcept { return operation_; }

 private:
  std::string operation_;
};

/// One side of a ring, and what it has yet to move through it: stretches, each with its length
/// before it, which both sides have to know.
class SharedStream {
 public:
  /// The side that writes.
  explicit SharedStream(SharedRing ring) : ring_(std::move(ring)) {}
  /// The side that reads as `reader`.
  SharedStream(SharedRing ring, size_t reader) : ring_(std::move(ring)), reader_(reader) {}

  /// At least one byte, of the operation `what`; `done` is called once all have been moved.
  void add(std::byte* data, size_t bytes, const std::string& what, std::function<void()> done);
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
    std::string what;
    std::function<void()> done;
  };

  size_t move(std::byte* data, size_t bytes);
  void check_head(const Stretch& next) const;

  SharedRing ring_;
  std::optional<size_t> reader_;
  std::deque<Stretch> waiting_;
};

}  // namespace fakescore::detail
