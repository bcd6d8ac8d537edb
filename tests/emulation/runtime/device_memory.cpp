#include "runtime/device_memory.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>

#include "runtime/counters.hpp"
#include "runtime/fatal.hpp"

namespace fakescore::emulation {
namespace {

// Far from where the loader, the heap and the sanitizers put things.
constexpr uintptr_t kFirstDevice = 0x200000000000;
constexpr uintptr_t kFirstShadow = 0x400000000000;
constexpr uintptr_t kDeviceStride = uintptr_t{1} << 40;
constexpr size_t kAlignment = 512;

char* map_at(uintptr_t address, size_t bytes, int protection, int file) {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): the address is the point
  void* const mapped = ::mmap(reinterpret_cast<void*>(address), bytes, protection,
                              MAP_SHARED | MAP_FIXED_NOREPLACE, file, 0);
  if (mapped == MAP_FAILED) {
    fatal(std::string("device memory cannot be mapped: ") + std::strerror(errno));
  }
  return static_cast<char*>(mapped);
}

}  // namespace

DeviceMemory::DeviceMemory(int device, size_t capacity) : capacity_(capacity) {
  const int file = ::memfd_create("fakescore-device-memory", MFD_CLOEXEC);
  if (file < 0 || ::ftruncate(file, static_cast<off_t>(capacity)) != 0) {
    fatal(std::string("device memory cannot be made: ") + std::strerror(errno));
  }
  const uintptr_t distance = static_cast<uintptr_t>(device) * kDeviceStride;
  base_ = map_at(kFirstDevice + distance, capacity, PROT_NONE, file);
  shadow_ = map_at(kFirstShadow + distance, capacity, PROT_READ | PROT_WRITE, file);
  ::close(file);
}

void* DeviceMemory::allocate(size_t bytes) {
  bytes = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  const std::lock_guard<std::mutex> lock(mutex_);
  size_t at = 0;
  for (const auto& [start, size] : allocations_) {
    if (start - at >= bytes) break;
    at = start + size;
  }
  if (bytes > capacity_ || at > capacity_ - bytes) return nullptr;
  allocations_[at] = bytes;
  used_ += bytes;
  live_counters().device.add(bytes);
  std::memset(shadow_ + at, kPoison, bytes);
  return base_ + at;
}

bool DeviceMemory::release(const void* address) {
  if (!contains(address)) return false;
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = allocations_.find(offset(address));
  if (found == allocations_.end()) return false;
  const auto [start, bytes] = *found;
  allocations_.erase(found);
  used_ -= bytes;
  live_counters().device.remove(bytes);
  // Whole pages go back to the host.
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t first = (start + page - 1) / page * page;
  const size_t last = (start + bytes) / page * page;
  if (last > first) ::madvise(shadow_ + first, last - first, MADV_REMOVE);
  return true;
}

bool DeviceMemory::contains(const void* address) const {
  const auto* const byte = static_cast<const char*>(address);
  return byte >= base_ && byte < base_ + capacity_;
}

bool DeviceMemory::holds(const void* address, size_t bytes) const {
  if (!contains(address)) return false;
  const std::lock_guard<std::mutex> lock(mutex_);
  const size_t start = offset(address);
  auto after = allocations_.upper_bound(start);
  if (after == allocations_.begin()) return false;
  const auto [first, size] = *--after;
  return start - first <= size && bytes <= size - (start - first);
}

char* DeviceMemory::shadow(const void* address) const { return shadow_ + offset(address); }

size_t DeviceMemory::free_bytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return capacity_ - used_;
}

size_t DeviceMemory::offset(const void* address) const {
  return static_cast<size_t>(static_cast<const char*>(address) - base_);
}

}  // namespace fakescore::emulation
