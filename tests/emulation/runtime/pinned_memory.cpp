#include "runtime/pinned_memory.hpp"

#include <cstdlib>
#include <cstring>

#include "runtime/counters.hpp"
#include "runtime/device_memory.hpp"

namespace fakescore::emulation {

void* PinnedMemory::allocate(size_t bytes) {
  constexpr size_t kPage = 4096;
  void* address = nullptr;
  if (::posix_memalign(&address, kPage, bytes == 0 ? 1 : bytes) != 0) return nullptr;
  std::memset(address, kPoison, bytes);
  add(address, bytes);
  return address;
}

bool PinnedMemory::free(void* address) {
  if (!remove(address)) return false;
  std::free(address);
  return true;
}

bool PinnedMemory::add(void* address, size_t bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!ranges_.emplace(reinterpret_cast<uintptr_t>(address), bytes).second) return false;
  live_counters().pinned.add(bytes);
  return true;
}

bool PinnedMemory::remove(void* address) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = ranges_.find(reinterpret_cast<uintptr_t>(address));
  if (found == ranges_.end()) return false;
  live_counters().pinned.remove(found->second);
  ranges_.erase(found);
  return true;
}

PinnedMemory::Overlap PinnedMemory::overlap(const void* address, size_t bytes) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto first = reinterpret_cast<uintptr_t>(address);
  const uintptr_t last = first + bytes;
  auto after = ranges_.upper_bound(first);
  if (after != ranges_.end() && after->first < last) return Overlap::kPartly;
  if (after == ranges_.begin()) return Overlap::kNone;
  const auto [start, size] = *--after;
  if (first >= start + size) return Overlap::kNone;
  return last <= start + size ? Overlap::kInside : Overlap::kPartly;
}

PinnedMemory& pinned_memory() {
  static auto* const memory = new PinnedMemory;
  return *memory;
}

}  // namespace fakescore::emulation
