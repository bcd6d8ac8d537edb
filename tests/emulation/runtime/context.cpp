#include "runtime/context.hpp"

#include <atomic>
#include <vector>

#include "runtime/counters.hpp"

namespace fakescore::emulation {
namespace {

std::atomic<bool>& context(int device) {
  static auto* const contexts =
      new std::vector<std::atomic<bool>>(static_cast<size_t>(device_count()));
  return contexts->at(static_cast<size_t>(device));
}

}  // namespace

bool has_context(int device) { return device < device_count() && context(device); }

void make_context(int device) {
  if (device >= device_count()) return;  // a host without devices
  if (!context(device).exchange(true)) live_counters().contexts += 1;
}

}  // namespace fakescore::emulation
