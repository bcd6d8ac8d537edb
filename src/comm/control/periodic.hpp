#pragma once

#include "comm/control/deadline.hpp"

namespace fakescore::detail {

/// Tells a polling loop when to do work that is too expensive for every poll: over a store each
/// look at the control plane is a message.
class Periodic {
 public:
  explicit Periodic(std::chrono::milliseconds interval = std::chrono::milliseconds(100))
      : interval_(interval), next_(Clock::now() + interval) {}

  bool is_due() {
    const auto now = Clock::now();
    if (now < next_) return false;
    next_ = now + interval_;
    return true;
  }

 private:
  std::chrono::milliseconds interval_;
  Clock::time_point next_;
};

}  // namespace fakescore::detail
