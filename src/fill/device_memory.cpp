#include "fill/device_memory.hpp"

#include <c10/core/CachingDeviceAllocator.h>

namespace fakescore::detail {

uint64_t peak_device_bytes(c10::Device device) {
  if (device.is_cpu()) return 0;
#ifdef FAKESCORE_TORCH_HAS_DEVICE_ALLOCATOR
  const auto stats = at::getDeviceAllocator(device.type())->getDeviceStats(device.index());
  const auto all = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  return static_cast<uint64_t>(stats.allocated_bytes[all].peak);
#else
  return 0;
#endif
}

}  // namespace fakescore::detail
