#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "emulation.hpp"

namespace fakescore::emulation {

int64_t monotonic_ns();

/// What the streams of this process ran, in the order in which it ended.
class Timeline {
 public:
  void add(Operation operation);
  std::vector<Operation> copy() const;
  void clear();

 private:
  mutable std::mutex mutex_;
  std::vector<Operation> operations_;
};

Timeline& timeline();

}  // namespace fakescore::emulation
