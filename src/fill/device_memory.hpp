#pragma once

#include <c10/core/Device.h>

#include <cstdint>

namespace fakescore::detail {

/// Most bytes that LibTorch's allocator had given out on a GPU; 0 for the CPU, and where
/// LibTorch does not say (2.8).
uint64_t peak_device_bytes(c10::Device device);

}  // namespace fakescore::detail
