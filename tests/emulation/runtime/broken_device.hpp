#pragma once

#include <cuda_runtime_api.h>

#include <atomic>

namespace fakescore::emulation {

/// What a device reports for good after an illegal access.
inline constexpr cudaError_t kBrokenDevice = cudaErrorIllegalAddress;

/// Whether a test broke the devices of this process. It never mends them.
inline std::atomic<bool>& device_is_broken() {
  static std::atomic<bool> is_broken{false};
  return is_broken;
}

}  // namespace fakescore::emulation
