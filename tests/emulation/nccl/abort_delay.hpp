#pragma once

#include <atomic>
#include <chrono>

namespace fakescore::emulation {

/// How much longer each ncclCommAbort takes because a test wants it.
inline std::atomic<std::chrono::milliseconds>& abort_delay() {
  static std::atomic<std::chrono::milliseconds> delay{std::chrono::milliseconds(0)};
  return delay;
}

}  // namespace fakescore::emulation
