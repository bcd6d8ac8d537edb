#include "teacher/formats/pickle/pickle_arena.hpp"

#include <cstdlib>
#include <cstring>

namespace fakescore::detail {
namespace {

constexpr const char* kHolds = "holds more than its pickle describes";
constexpr size_t kLargeBytes = 8192;

}  // namespace

PickleArena::~PickleArena() {
  for (void* block : blocks_) std::free(block);
}

void* PickleArena::allocate(size_t bytes) {
  budget_.charge_memory(bytes, kHolds);
  return pool_.allocate(bytes, alignof(PickleValue));
}

void* PickleArena::grow(void* old, size_t used_bytes, size_t old_bytes, size_t bytes) {
  if (bytes < kLargeBytes) {
    void* const small = allocate(bytes);
    if (used_bytes > 0) std::memcpy(small, old, used_bytes);
    return small;
  }
  const bool was_large = old_bytes >= kLargeBytes;
  budget_.charge_memory(was_large ? bytes - old_bytes : bytes, kHolds);
  if (was_large) blocks_.erase(old);
  void* const block = std::realloc(was_large ? old : nullptr, bytes);
  if (block == nullptr) {
    if (was_large) std::free(old);
    throw std::bad_alloc();
  }
  blocks_.insert(block);
  if (!was_large && used_bytes > 0) std::memcpy(block, old, used_bytes);
  return block;
}

}  // namespace fakescore::detail
