#include "runtime/timeline.hpp"

#include <chrono>
#include <utility>

namespace fakescore::emulation {

int64_t monotonic_ns() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

void Timeline::add(Operation operation) {
  const std::lock_guard<std::mutex> lock(mutex_);
  operations_.push_back(std::move(operation));
}

std::vector<Operation> Timeline::copy() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return operations_;
}

void Timeline::clear() {
  const std::lock_guard<std::mutex> lock(mutex_);
  operations_.clear();
}

Timeline& timeline() {
  static auto* const timeline = new Timeline;
  return *timeline;
}

}  // namespace fakescore::emulation
