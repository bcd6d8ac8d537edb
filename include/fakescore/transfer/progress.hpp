#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace fakescore {

/// The progress of a phase, in bytes on the wire.
struct Progress {
  std::string phase;
  uint64_t done_bytes = 0;
  uint64_t total_bytes = 0;
};

/// Called on the calling thread of the rank that set it, about once for each bucket. What it throws
/// fails the call, on every rank.
using ProgressCallback = std::function<void(const Progress&)>;

}  // namespace fakescore
