#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

namespace fakescore::detail {

/// Adds the shares of all words of `size` bytes of device memory to `sums[0]` (the low half) and
/// `sums[1]`, device memory that holds zeros; asynchronous, on `stream` of the current device.
cudaError_t launch_digest(const void* bytes, size_t size, unsigned long long* sums,
                          cudaStream_t stream);

}  // namespace fakescore::detail
