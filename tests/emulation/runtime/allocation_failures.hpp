#pragma once

#include <mutex>

namespace fakescore::emulation {

/// Which of the next allocations fail because a test wants it.
class AllocationFailures {
 public:
  /// The `nth` next (1 is the next one) and `count - 1` after it.
  void plan(unsigned nth, unsigned count) {
    const std::lock_guard<std::mutex> lock(mutex_);
    passing_ = nth == 0 ? 0 : nth - 1;
    failing_ = count;
  }

  bool next_fails() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (failing_ == 0) return false;
    if (passing_ > 0) {
      --passing_;
      return false;
    }
    --failing_;
    return true;
  }

 private:
  std::mutex mutex_;
  unsigned passing_ = 0;
  unsigned failing_ = 0;
};

/// Of cudaMalloc calls.
inline AllocationFailures& allocation_failures() {
  static auto* const failures = new AllocationFailures;
  return *failures;
}

/// Of cudaHostAlloc calls.
inline AllocationFailures& pinned_allocation_failures() {
  static auto* const failures = new AllocationFailures;
  return *failures;
}

}  // namespace fakescore::emulation
