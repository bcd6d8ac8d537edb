// Entry points of the CUDA runtime: kernels, as nvcc's code declares and launches them.
#include <cuda_runtime_api.h>

#include <cstring>
#include <vector>

#include "runtime/context.hpp"
#include "runtime/counters.hpp"
#include "runtime/device.hpp"
#include "runtime/entry_point.hpp"
#include "runtime/fatal.hpp"
#include "runtime/kernel_registry.hpp"

namespace fakescore::emulation {
namespace {

/// What `<<<grid, block, shared, stream>>>` keeps between its two calls.
struct Configuration {
  dim3 grid;
  dim3 block;
  size_t shared_bytes;
  cudaStream_t stream;
};

std::vector<Configuration>& configurations() {
  thread_local std::vector<Configuration> pushed;
  return pushed;
}

cudaError_t submit_kernel(const void* stub, dim3 grid, dim3 block, void** arguments,
                          cudaStream_t handle) {
  const auto stream = find_stream(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  const std::string name = kernel_registry().name_of(stub);
  const KernelBody body = kernel_registry().body_of(stub);
  if (!body) {
    complain("kernel " + name + " has no host body");
    return cudaErrorNoKernelImageForDevice;
  }
  const LaunchShape shape{{grid.x, grid.y, grid.z}, {block.x, block.y, block.z}};
  live_counters().kernel_launches += 1;
  submit(stream, {name, 0, body(shape, arguments), {}});
  return cudaSuccess;
}

cudaError_t launch(const void* stub, dim3 grid, dim3 block, void** arguments, cudaStream_t handle) {
  return enter_context([&] { return submit_kernel(stub, grid, block, arguments, handle); });
}

cudaError_t give_one(int* blocks) {
  return enter_context([&] {
    *blocks = 1;
    return cudaSuccess;
  });
}

}  // namespace
}  // namespace fakescore::emulation

using namespace fakescore::emulation;  // NOLINT: this file defines C functions

extern "C" {

// NOLINTBEGIN(bugprone-reserved-identifier): nvcc's code calls these names.

void** __cudaRegisterFatBinary(void*) {
  static void* handle = nullptr;
  return &handle;
}

void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}

void __cudaRegisterFunction(void**, const char* stub, char*, const char* name, int, uint3*, uint3*,
                            dim3*, dim3*, int*) {
  kernel_registry().declare(stub, name);
}

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared_bytes,
                                     CUstream_st* stream) {
  configurations().push_back({grid, block, shared_bytes, stream});
  return 0;
}

cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared_bytes,
                                       void* stream) {
  const Configuration last = configurations().back();
  configurations().pop_back();
  *grid = last.grid;
  *block = last.block;
  *shared_bytes = last.shared_bytes;
  *static_cast<cudaStream_t*>(stream) = last.stream;
  return cudaSuccess;
}

cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* stub) {
  *kernel = static_cast<cudaKernel_t>(const_cast<void*>(stub));
  return cudaSuccess;
}

cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments, size_t,
                               cudaStream_t stream) {
  return launch(kernel, grid, block, arguments, stream);
}

// NOLINTEND(bugprone-reserved-identifier)

cudaError_t cudaLaunchKernel(const void* stub, dim3 grid, dim3 block, void** arguments, size_t,
                             cudaStream_t stream) {
  return launch(stub, grid, block, arguments, stream);
}

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* configuration, const void* stub,
                                void** arguments) {
  return launch(stub, configuration->gridDim, configuration->blockDim, arguments,
                configuration->stream);
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void*) {
  return enter_context([&] {
    std::memset(attributes, 0, sizeof *attributes);
    attributes->maxThreadsPerBlock = 1024;
    attributes->numRegs = 32;
    attributes->binaryVersion = attributes->ptxVersion = 80;
    return cudaSuccess;
  });
}

cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) {
  return enter_context([] { return cudaSuccess; });
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void*, int, size_t) {
  return give_one(blocks);
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void*, int,
                                                                   size_t, unsigned) {
  return give_one(blocks);
}

}  // extern "C"
