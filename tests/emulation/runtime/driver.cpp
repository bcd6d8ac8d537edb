// The few entry points of the CUDA driver that LibTorch calls. Some it links (the library's SONAME
// is libcuda.so.1), some it looks up by name.
#include <cuda.h>
#include <cuda_runtime_api.h>

#include <array>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "runtime/context.hpp"
#include "runtime/device.hpp"
#include "runtime/fatal.hpp"

namespace fakescore::emulation {
namespace {

/// A function of its own for each name that is looked up and not emulated: LibTorch looks up many
/// and calls few, so that only the call may abort.
constexpr size_t kStubs = 128;
std::array<std::string, kStubs> stub_names;

template <size_t Index>
CUresult stub() {
  not_emulated(stub_names[Index].c_str());
}

template <size_t... Index>
std::array<void*, kStubs> make_stubs(std::index_sequence<Index...>) {
  return {reinterpret_cast<void*>(&stub<Index>)...};
}

void* stub_for(const std::string& name) {
  static const auto stubs = make_stubs(std::make_index_sequence<kStubs>());
  static std::mutex mutex;
  static size_t used = 0;
  const std::lock_guard<std::mutex> lock(mutex);
  for (size_t index = 0; index < used; ++index) {
    if (stub_names[index] == name) return stubs[index];
  }
  if (used == kStubs) not_emulated(name.c_str());
  stub_names[used] = name;
  return stubs[used++];
}

CUcontext context_of(int device) {
  // Contexts are compared, never looked into.
  static std::array<char, 256> contexts;
  return reinterpret_cast<CUcontext>(&contexts.at(static_cast<size_t>(device)));
}

}  // namespace
}  // namespace fakescore::emulation

using namespace fakescore::emulation;  // NOLINT: this file defines C functions

extern "C" {

CUresult cuCtxGetCurrent(CUcontext* context) {
  *context = has_context(current_device()) ? context_of(current_device()) : nullptr;
  return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext) { return CUDA_SUCCESS; }

CUresult cuDeviceGet(CUdevice* found, int index) {
  *found = index;
  return index >= 0 && index < device_count() ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned* flags, int* is_active) {
  if (device < 0 || device >= device_count()) return CUDA_ERROR_INVALID_DEVICE;
  *flags = 0;
  *is_active = has_context(device) ? 1 : 0;
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  if (device < 0 || device >= device_count()) return CUDA_ERROR_INVALID_DEVICE;
  make_context(device);
  *context = context_of(device);
  return CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult result, const char** text) {
  *text = result == CUDA_SUCCESS ? "no error" : "error of the emulated driver";
  return CUDA_SUCCESS;
}

/// There is nothing that the emulated driver would log.
CUresult cuLogsRegisterCallback(CUlogsCallback, void*, CUlogsCallbackHandle* handle) {
  if (handle != nullptr) *handle = nullptr;
  return CUDA_SUCCESS;
}

CUresult cuLogsUnregisterCallback(CUlogsCallbackHandle) { return CUDA_SUCCESS; }

cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned,
                                             unsigned long long,
                                             cudaDriverEntryPointQueryResult* result) {
  static const std::map<std::string, void*> emulated{
      {"cuCtxGetCurrent", reinterpret_cast<void*>(&cuCtxGetCurrent)},
      {"cuDeviceGet", reinterpret_cast<void*>(&cuDeviceGet)},
      {"cuDevicePrimaryCtxGetState", reinterpret_cast<void*>(&cuDevicePrimaryCtxGetState)},
      {"cuGetErrorString", reinterpret_cast<void*>(&cuGetErrorString)},
      {"cuLogsRegisterCallback", reinterpret_cast<void*>(&cuLogsRegisterCallback)},
      {"cuLogsUnregisterCallback", reinterpret_cast<void*>(&cuLogsUnregisterCallback)}};
  const auto found = emulated.find(symbol);
  *function = found == emulated.end() ? stub_for(symbol) : found->second;
  if (result != nullptr) *result = cudaDriverEntryPointSuccess;
  return cudaSuccess;
}

}  // extern "C"
