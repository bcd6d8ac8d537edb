#pragma once

#include <cstddef>
#include <map>
#include <mutex>

namespace fakescore::emulation {

/// What fresh memory holds: NaN in every floating point type, so that nobody mistakes it for data.
inline constexpr unsigned char kPoison = 0xFF;

/// The memory of one device: host memory with two views. The addresses a program gets cannot be
/// touched by the host; the emulation works through the shadow.
class DeviceMemory {
 public:
  DeviceMemory(int device, size_t capacity);

  /// Poisoned memory, or null where the device has none left.
  void* allocate(size_t bytes);
  /// False where `address` is not the start of an allocation.
  bool release(const void* address);

  bool contains(const void* address) const;
  /// Whether the range lies inside one live allocation.
  bool holds(const void* address, size_t bytes) const;
  char* shadow(const void* address) const;

  size_t capacity() const { return capacity_; }
  size_t free_bytes() const;

 private:
  size_t offset(const void* address) const;

  size_t capacity_;
  char* base_;
  char* shadow_;
  mutable std::mutex mutex_;
  std::map<size_t, size_t> allocations_;  ///< offset and size
  size_t used_ = 0;
};

}  // namespace fakescore::emulation
