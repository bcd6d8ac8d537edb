#pragma once

#include <atomic>
#include <cstdint>

#include "emulation.hpp"

namespace fakescore::emulation {

/// Calls of one kind and the bytes they moved.
class Traffic {
 public:
  void add(uint64_t bytes) {
    calls_ += 1;
    bytes_ += bytes;
  }
  void reset() {
    calls_ = 0;
    bytes_ = 0;
  }
  uint64_t calls() const { return calls_; }
  uint64_t bytes() const { return bytes_; }

 private:
  std::atomic<uint64_t> calls_{0};
  std::atomic<uint64_t> bytes_{0};
};

/// Bytes that are held, and the most that ever were.
class Held {
 public:
  void add(uint64_t bytes) {
    allocations_ += 1;
    const uint64_t now = bytes_ += bytes;
    for (uint64_t peak = peak_; peak < now && !peak_.compare_exchange_weak(peak, now);) {
    }
  }
  void remove(uint64_t bytes) { bytes_ -= bytes; }
  void reset() {
    allocations_ = 0;
    peak_ = bytes_.load();
  }
  uint64_t allocations() const { return allocations_; }
  uint64_t bytes() const { return bytes_; }
  uint64_t peak() const { return peak_; }

 private:
  std::atomic<uint64_t> allocations_{0};
  std::atomic<uint64_t> bytes_{0};
  std::atomic<uint64_t> peak_{0};
};

struct LiveCounters {
  Traffic h2d, d2h, d2d, memset, nccl_broadcast, nccl_other;
  Held device, pinned;
  std::atomic<uint64_t> kernel_launches{0}, nccl_launches{0};
  std::atomic<uint64_t> streams{0}, events{0}, communicators{0}, contexts{0};

  Counters snapshot() const;
  void reset();
};

LiveCounters& live_counters();

}  // namespace fakescore::emulation
