#pragma once

#include <cuda_runtime_api.h>

#include "runtime/broken_device.hpp"

namespace fakescore::emulation {

/// The calling thread's last error, as cudaGetLastError hands it out.
inline cudaError_t& last_error() {
  thread_local cudaError_t error = cudaSuccess;
  return error;
}

/// What an entry point returns: an error is remembered until somebody asks for it, and that of a
/// broken device takes the place of every other.
inline cudaError_t finish(cudaError_t error) {
  if (device_is_broken()) error = kBrokenDevice;
  if (error != cudaSuccess && error != cudaErrorNotReady) last_error() = error;
  return error;
}

/// Does `call()` unless the device is broken, and returns what the entry point does. For all but
/// those that only look something up: these ask no device.
template <class Call>
cudaError_t enter(Call call) {
  return finish(device_is_broken() ? kBrokenDevice : call());
}

}  // namespace fakescore::emulation
