#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>

namespace fakescore::emulation {

/// Host memory that devices copy to and from without staging.
class PinnedMemory {
 public:
  enum class Overlap { kNone, kPartly, kInside };

  /// Poisoned memory that is registered as well.
  void* allocate(size_t bytes);
  bool free(void* address);
  /// False where it is registered already.
  bool add(void* address, size_t bytes);
  bool remove(void* address);

  /// How the range lies to one registered range.
  Overlap overlap(const void* address, size_t bytes) const;

 private:
  mutable std::mutex mutex_;
  std::map<uintptr_t, size_t> ranges_;
};

PinnedMemory& pinned_memory();

}  // namespace fakescore::emulation
