#pragma once

#include <cuda_runtime_api.h>

namespace fakescore::emulation {

/// The calling thread's last error, as cudaGetLastError hands it out.
inline cudaError_t& last_error() {
  thread_local cudaError_t error = cudaSuccess;
  return error;
}

/// What an entry point returns: an error is remembered until somebody asks for it.
inline cudaError_t finish(cudaError_t error) {
  if (error != cudaSuccess && error != cudaErrorNotReady) last_error() = error;
  return error;
}

}  // namespace fakescore::emulation
