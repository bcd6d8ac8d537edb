// Entry points of the CUDA runtime: allocation and what a pointer is.
#include <cuda_runtime_api.h>

#include <cstring>

#include "runtime/allocation_failures.hpp"
#include "runtime/context.hpp"
#include "runtime/device.hpp"
#include "runtime/entry_point.hpp"
#include "runtime/pinned_memory.hpp"

namespace fakescore::emulation {
namespace {

cudaError_t allocate(void** address, size_t bytes) {
  if (bytes == 0) return cudaSuccess;
  if (allocation_failures().next_fails()) return cudaErrorMemoryAllocation;
  *address = device(current_device()).memory().allocate(bytes);
  return *address == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}

cudaError_t release(void* address) {
  if (address == nullptr) return cudaSuccess;
  Device* const owner = device_of(address);
  if (owner == nullptr) return cudaErrorInvalidValue;
  owner->synchronize();
  return owner->memory().release(address) ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t release_pinned(void* address) {
  if (address == nullptr) return cudaSuccess;
  for (int index = 0; index < device_count(); ++index) device(index).synchronize();
  return pinned_memory().free(address) ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t pin(void* address, size_t bytes) {
  if (address == nullptr || bytes == 0) return cudaErrorInvalidValue;
  return pinned_memory().add(address, bytes) ? cudaSuccess : cudaErrorHostMemoryAlreadyRegistered;
}

}  // namespace
}  // namespace fakescore::emulation

using namespace fakescore::emulation;  // NOLINT: this file defines C functions

extern "C" {

cudaError_t cudaMalloc(void** address, size_t bytes) {
  *address = nullptr;
  return enter_context([&] { return allocate(address, bytes); });
}

cudaError_t cudaFree(void* address) {
  return enter_context([&] { return release(address); });
}

cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  return enter_context([&] {
    const DeviceMemory& memory = device(current_device()).memory();
    *free_bytes = memory.free_bytes();
    *total_bytes = memory.capacity();
    return cudaSuccess;
  });
}

cudaError_t cudaHostAlloc(void** address, size_t bytes, unsigned) {
  *address = nullptr;
  return enter_context([&] {
    if (!pinned_allocation_failures().next_fails()) *address = pinned_memory().allocate(bytes);
    return *address == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
  });
}

cudaError_t cudaMallocHost(void** address, size_t bytes) {
  return cudaHostAlloc(address, bytes, cudaHostAllocDefault);
}

cudaError_t cudaFreeHost(void* address) {
  return enter([&] { return release_pinned(address); });
}

cudaError_t cudaHostRegister(void* address, size_t bytes, unsigned) {
  return enter_context([&] { return pin(address, bytes); });
}

cudaError_t cudaHostUnregister(void* address) {
  return enter([&] {
    return pinned_memory().remove(address) ? cudaSuccess : cudaErrorHostMemoryNotRegistered;
  });
}

cudaError_t cudaHostGetDevicePointer(void** for_device, void* for_host, unsigned) {
  return enter([&] {
    *for_device = for_host;
    return cudaSuccess;
  });
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* address) {
  if (!device_is_broken()) make_context(current_device());
  std::memset(attributes, 0, sizeof *attributes);
  void* const pointer = const_cast<void*>(address);
  const int index = device_index_of(address);
  if (index >= 0) {
    attributes->type = cudaMemoryTypeDevice;
    attributes->device = index;
    attributes->devicePointer = pointer;
  } else if (pinned_memory().overlap(address, 1) == PinnedMemory::Overlap::kInside) {
    attributes->type = cudaMemoryTypeHost;
    attributes->device = current_device();
    attributes->hostPointer = attributes->devicePointer = pointer;
  } else {
    attributes->type = cudaMemoryTypeUnregistered;
    attributes->device = cudaInvalidDeviceId;
    attributes->hostPointer = pointer;
  }
  return cudaSuccess;
}

}  // extern "C"
