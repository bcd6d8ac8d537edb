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
  /// How many timeouts a wait without progress may take where a peer says that it is at work.
  static constexpr int kTimeoutsAtWork = 10;

  explicit Deadline(std::chrono::milliseconds timeout) { renew(timeout); }

  /// There was progress.
  void renew(std::chrono::milliseconds timeout) {
    timeout_ = timeout;
    left_ = timeout;
    left_at_work_ = kTimeoutsAtWork * left_;
    last_look_ = Clock::now();
  }

  /// A peer said that it is at work. The time begins anew, but ends with kTimeoutsAtWork.
  void hear_of_work() {
    left();
    left_ = std::min<Clock::duration>(timeout_, left_at_work_);
  }

  std::chrono::milliseconds left() {
    const auto now = Clock::now();
    const auto passed = std::min<Clock::duration>(now - last_look_, kLongestStep);
    left_ -= passed;
    left_at_work_ -= passed;
    last_look_ = now;
    return std::chrono::duration_cast<std::chrono::milliseconds>(left_);
  }

  bool passed() { return left().count() <= 0; }

 private:
  static constexpr std::chrono::seconds kLongestStep{1};

  std::chrono::milliseconds timeout_{0};
  Clock::duration left_{0};
  Clock::duration left_at_work_{0};
  Clock::time_point last_look_;
};

}  // namespace fakescore::detail
