#pragma once

#include <algorithm>
#include <chrono>

namespace fakescore::detail {

using Clock = std::chrono::steady_clock;

/// How long a wait may still take that polls at least once a second. A longer time between two
/// looks counts as one second: this process was stopped, or its machine paused, and where that
/// befell the whole job, as when a scheduler suspends it, nobody was lost.
class Deadline {
 public:
  explicit Deadline(std::chrono::milliseconds timeout) { renew(timeout); }

  void renew(std::chrono::milliseconds timeout) {
    left_ = timeout;
    last_look_ = Clock::now();
  }

  std::chrono::milliseconds left() {
    const auto now = Clock::now();
    left_ -= std::min<Clock::duration>(now - last_look_, kLongestStep);
    last_look_ = now;
    return std::chrono::duration_cast<std::chrono::milliseconds>(left_);
  }

  bool passed() { return left().count() <= 0; }

 private:
  static constexpr std::chrono::seconds kLongestStep{1};

  Clock::duration left_{0};
  Clock::time_point last_look_;
};

}  // namespace fakescore::detail
