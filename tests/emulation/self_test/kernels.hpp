#pragma once

#include <cuda_runtime_api.h>

namespace fakescore::emulation {

/// Kernels of a device, as nvcc compiles and launches them.
void scale(const float* input, float* output, int count, float factor, cudaStream_t stream);
void launch_bodiless(cudaStream_t stream);

}  // namespace fakescore::emulation
