#pragma once

#include <c10/core/Device.h>

#include "fakescore/export.hpp"

namespace fakescore {

/// Whether this build has the CUDA and NCCL parts.
FAKESCORE_API bool has_cuda() noexcept;

/// Loads libtorch_cuda.so and initialises CUDA in LibTorch. This library is not linked with it, so
/// that jobs on CPUs do not pay for it (350 MB a process). A program that is not linked with it
/// either calls this before its first use of LibTorch: LibTorch looks for CUDA once. Throws
/// ConfigError naming what is missing: this build's CUDA parts, the library, a driver, a device.
FAKESCORE_API void load_cuda();

/// The GPU of a process's local rank: the one with that index, or the only one that the process
/// sees, as where CUDA_VISIBLE_DEVICES names one for each rank. It need not be there.
FAKESCORE_API c10::Device gpu_of_local_rank(int local_rank) noexcept;

}  // namespace fakescore
