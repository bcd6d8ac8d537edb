// Entry points of the CUDA runtime: devices and errors.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "runtime/context.hpp"
#include "runtime/device.hpp"
#include "runtime/entry_point.hpp"

namespace fakescore::emulation {
namespace {

constexpr int kComputeMajor = 8;
constexpr int kComputeMinor = 0;
constexpr int kMultiProcessors = 4;
constexpr int kWarpSize = 32;
constexpr int kMaxThreadsPerBlock = 1024;

bool exists(int index) { return index >= 0 && index < device_count(); }

cudaDeviceProp describe(int index) {
  cudaDeviceProp properties;
  std::memset(&properties, 0, sizeof properties);
  std::snprintf(properties.name, sizeof properties.name, "emulated CUDA device");
  properties.uuid.bytes[0] = static_cast<char>(device(index).on_host());
  properties.totalGlobalMem = device(index).memory().capacity();
  properties.major = kComputeMajor;
  properties.minor = kComputeMinor;
  properties.multiProcessorCount = kMultiProcessors;
  properties.warpSize = kWarpSize;
  properties.maxThreadsPerBlock = kMaxThreadsPerBlock;
  properties.maxThreadsPerMultiProcessor = 2 * kMaxThreadsPerBlock;
  properties.maxBlocksPerMultiProcessor = 32;
  std::fill_n(properties.maxThreadsDim, 3, kMaxThreadsPerBlock);
  std::fill_n(properties.maxGridSize, 3, 65535);
  properties.maxGridSize[0] = 2147483647;
  properties.sharedMemPerBlock = 48 << 10;
  properties.sharedMemPerBlockOptin = properties.sharedMemPerMultiprocessor = 164 << 10;
  properties.regsPerBlock = properties.regsPerMultiprocessor = 65536;
  properties.l2CacheSize = 1 << 20;
  properties.totalConstMem = 65536;
  properties.textureAlignment = 512;
  properties.memPitch = 2147483647;
  properties.memoryBusWidth = 256;
  properties.unifiedAddressing = properties.canMapHostMemory = properties.concurrentKernels = 1;
  properties.hostRegisterSupported = 1;
  properties.asyncEngineCount = 2;
  properties.pciBusID = device(index).on_host() + 1;
  return properties;
}

}  // namespace
}  // namespace fakescore::emulation

using namespace fakescore::emulation;  // NOLINT: this file defines C functions

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  *count = device_count();
  return *count == 0 ? finish(cudaErrorNoDevice) : cudaSuccess;
}

cudaError_t cudaGetDevice(int* index) {
  *index = current_device();
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int index) {
  if (!exists(index)) return finish(cudaErrorInvalidDevice);
  current_device() = index;
  return enter_context([] { return cudaSuccess; });
}

cudaError_t cudaDeviceSynchronize() {
  return enter_context([] {
    device(current_device()).synchronize();
    return cudaSuccess;
  });
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int index) {
  if (!exists(index)) return finish(cudaErrorInvalidDevice);
  *properties = describe(index);
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int index) {
  if (!exists(index)) return finish(cudaErrorInvalidDevice);
  switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor:
      *value = kComputeMajor;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = kComputeMinor;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = kMultiProcessors;
      break;
    case cudaDevAttrWarpSize:
      *value = kWarpSize;
      break;
    case cudaDevAttrMaxThreadsPerBlock:
      *value = kMaxThreadsPerBlock;
      break;
    case cudaDevAttrUnifiedAddressing:
      *value = 1;
      break;
    default:
      *value = 0;  // the device has no such feature
  }
  return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char* text, int length, int index) {
  if (!exists(index)) return finish(cudaErrorInvalidDevice);
  std::snprintf(text, static_cast<size_t>(length), "0000:%02x:00.0", device(index).on_host() + 1);
  return cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int* can, int from, int to) {
  if (!exists(from) || !exists(to)) return finish(cudaErrorInvalidDevice);
  *can = from != to;
  return cudaSuccess;
}

cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned) {
  return enter_context([&] {
    if (!exists(peer)) return cudaErrorInvalidDevice;
    make_context(peer);  // what it maps is the peer's context
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -2;
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = cudaPeekAtLastError();
  last_error() = cudaSuccess;
  return error;
}

cudaError_t cudaPeekAtLastError() { return device_is_broken() ? kBrokenDevice : last_error(); }

cudaError_t cudaProfilerStart() { return cudaSuccess; }
cudaError_t cudaProfilerStop() { return cudaSuccess; }

}  // extern "C"
