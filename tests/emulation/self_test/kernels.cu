#include "self_test/kernels.hpp"

namespace fakescore::emulation {

__global__ void scale_kernel(const float* input, float* output, int count, float factor) {
  const int index = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (index < count) output[index] = factor * input[index];
}

__global__ void bodiless_kernel() {}

void scale(const float* input, float* output, int count, float factor, cudaStream_t stream) {
  constexpr int kThreads = 128;
  scale_kernel<<<(count + kThreads - 1) / kThreads, kThreads, 0, stream>>>(input, output, count,
                                                                           factor);
}

void launch_bodiless(cudaStream_t stream) { bodiless_kernel<<<1, 1, 0, stream>>>(); }

}  // namespace fakescore::emulation
