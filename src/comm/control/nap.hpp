#pragma once

#include <algorithm>
#include <chrono>
#include <thread>

namespace fakescore::detail {

/// What a wait that asks again and again sleeps between two questions: ever longer, so that a short
/// wait ends at once and a long one costs little.
class Nap {
 public:
  /// Begins `factor` times as long as it would else.
  explicit Nap(std::chrono::microseconds longest = std::chrono::milliseconds(100), int factor = 1)
      : longest_(longest), length_(std::min(factor * kShortest, longest)) {}

  void take() {
    std::this_thread::sleep_for(length_);
    length_ = std::min(length_ + length_ / 4, longest_);
  }

 private:
  static constexpr std::chrono::microseconds kShortest{50};

  std::chrono::microseconds longest_;
  std::chrono::microseconds length_;
};

}  // namespace fakescore::detail
