#include <ATen/Context.h>
#include <c10/cuda/CUDAFunctions.h>
#include <dlfcn.h>

#include "fakescore/error.hpp"
#include "fakescore/tensor/cuda.hpp"

namespace fakescore {
namespace {

[[noreturn]] void refuse(const std::string& message, const std::string& remedy) {
  throw ConfigError("device cuda", message, remedy);
}

}  // namespace

bool has_cuda() noexcept { return true; }

void load_cuda() {
  if (::dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    refuse(std::string("LibTorch's CUDA library cannot be loaded: ") + ::dlerror(),
           "install a LibTorch that is built with CUDA");
  }
  if (c10::cuda::device_count() == 0) {
    refuse("no GPU is visible", "check the driver with nvidia-smi, and CUDA_VISIBLE_DEVICES");
  }
  if (!at::hasCUDA()) {
    refuse("LibTorch was used before its CUDA library was loaded, and looks for it only once",
           "call fakescore::load_cuda() first, or link the program with libtorch_cuda");
  }
  at::globalContext().lazyInitDevice(at::kCUDA);
}

c10::Device gpu_of_local_rank(int local_rank) noexcept {
  const bool is_only_one = c10::cuda::device_count() == 1;
  return {c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(is_only_one ? 0 : local_rank)};
}

}  // namespace fakescore
