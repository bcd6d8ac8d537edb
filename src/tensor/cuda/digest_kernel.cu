#include "tensor/cuda/digest_kernel.hpp"
#include "tensor/cuda/digest_words.hpp"

namespace fakescore::detail {
namespace {

constexpr unsigned kThreads = 256;
constexpr unsigned kMaxBlocks = 1024;
constexpr unsigned kWordsPerThread = 16;

}  // namespace

/// A sum may be taken in any order, so that the launch shape does not show in it.
__global__ void digest_kernel(const unsigned char* bytes, uint64_t size,
                              unsigned long long* sums) {
  const uint64_t first = blockIdx.x * uint64_t{blockDim.x} + threadIdx.x;
  const Digest sum = DigestWords{bytes, size}(first, gridDim.x * uint64_t{blockDim.x});
  unsigned long long low = sum.low;
  unsigned long long high = sum.high;
  for (int offset = warpSize / 2; offset > 0; offset /= 2) {
    low += __shfl_down_sync(~0U, low, offset);
    high += __shfl_down_sync(~0U, high, offset);
  }
  if (threadIdx.x % warpSize == 0) {
    atomicAdd(&sums[0], low);
    atomicAdd(&sums[1], high);
  }
}

cudaError_t launch_digest(const void* bytes, size_t size, unsigned long long* sums,
                          cudaStream_t stream) {
  if (size == 0) return cudaSuccess;
  const uint64_t per_block = uint64_t{kThreads} * kWordsPerThread * sizeof(uint64_t);
  const uint64_t blocks = (size + per_block - 1) / per_block;
  digest_kernel<<<blocks < kMaxBlocks ? static_cast<unsigned>(blocks) : kMaxBlocks, kThreads, 0,
                  stream>>>(static_cast<const unsigned char*>(bytes), size, sums);
  return cudaGetLastError();
}

}  // namespace fakescore::detail
