#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

namespace fakescore::benchmark {

/// What this process has used since it began.
struct Usage {
  double cpu_seconds = 0;  ///< user and system
  int64_t faults = 0;      ///< minor ones
  int64_t disk_bytes = 0;  ///< read from a disk, not from the page cache
};

Usage usage();

/// Bytes that this process has of its own (its part of what ranks share included), which no file
/// can give back: Pss_Anon and Pss_Shmem of /proc/self/smaps_rollup.
uint64_t anonymous_bytes();

/// Memory of this host that nothing uses, the page cache included in what does.
uint64_t free_bytes();

/// Peak resident set since the last reset, mapped files included.
uint64_t resident_peak();
void reset_resident_peak();

/// While it lives, a thread reads anonymous_bytes() each 2 ms. That costs time: not for runs that
/// are timed.
class AnonymousPeak {
 public:
  AnonymousPeak();
  ~AnonymousPeak();
  AnonymousPeak(const AnonymousPeak&) = delete;
  AnonymousPeak& operator=(const AnonymousPeak&) = delete;

  uint64_t bytes() const noexcept { return most_; }

 private:
  std::atomic<uint64_t> most_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace fakescore::benchmark
