#include "runtime/counters.hpp"

namespace fakescore::emulation {

Counters LiveCounters::snapshot() const {
  Counters now;
  now.h2d_calls = h2d.calls();
  now.h2d_bytes = h2d.bytes();
  now.d2h_calls = d2h.calls();
  now.d2h_bytes = d2h.bytes();
  now.d2d_calls = d2d.calls();
  now.d2d_bytes = d2d.bytes();
  now.memset_calls = memset.calls();
  now.memset_bytes = memset.bytes();
  now.kernel_launches = kernel_launches;
  now.device_allocations = device.allocations();
  now.device_bytes = device.bytes();
  now.device_bytes_peak = device.peak();
  now.pinned_allocations = pinned.allocations();
  now.pinned_bytes = pinned.bytes();
  now.pinned_bytes_peak = pinned.peak();
  now.nccl_launches = nccl_launches;
  now.nccl_broadcast_calls = nccl_broadcast.calls();
  now.nccl_broadcast_bytes = nccl_broadcast.bytes();
  now.nccl_other_calls = nccl_other.calls();
  now.nccl_other_bytes = nccl_other.bytes();
  now.live_streams = streams;
  now.live_events = events;
  now.live_communicators = communicators;
  now.contexts = contexts;
  return now;
}

void LiveCounters::reset() {
  for (Traffic* traffic : {&h2d, &d2h, &d2d, &memset, &nccl_broadcast, &nccl_other}) {
    traffic->reset();
  }
  device.reset();
  pinned.reset();
  kernel_launches = 0;
  nccl_launches = 0;
}

LiveCounters& live_counters() {
  static auto* const counters = new LiveCounters;
  return *counters;
}

}  // namespace fakescore::emulation
