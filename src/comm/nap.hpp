#pragma once

#include <algorithm>
#include <chrono>
#include <thread>

namespace fakescore::detail {

/// What a wait that asks again and again sleeps between two questions: ever longer, so that a short
/// wait ends at once and a long one costs little.
class Nap {
 public:
  explicit Nap(std::chrono::microseconds longest = std::chrono::milliseconds(100))
      : longest_(longest) {}

  void take() {
    std::this_thread::sleep_for(length_);
    length_ = std::min(length_ + length_ / 4, longest_);
  }

 private:
  std::chrono::microseconds longest_;
  std::chrono::microseconds length_{50};
};

}  // namespace fakescore::detail
