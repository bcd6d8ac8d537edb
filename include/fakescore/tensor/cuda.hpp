#pragma once

#include <c10/core/Device.h>

#include "fakescore/export.hpp"

namespace fakescore {

/// Whether this build has the CUDA and NCCL parts.
FAKESCORE_API bool has_cuda() noexcept;

/// Loads libtorch_cuda.so and initialises CUDA in LibTorch. fakescore is not linked with that
/// library, so that jobs on CPUs do not pay for it (350 MB in each process). A program that is not
/// linked with it either must call this before its first use of LibTorch, which looks for CUDA only
/// once. Throws ConfigError naming what is missing: this build's CUDA parts, the library, a driver
/// or a device.
FAKESCORE_API void load_cuda();

/// The GPU of a process's local rank: the one with that index, or, if the process sees only one
/// (CUDA_VISIBLE_DEVICES may name one for each rank), that one. It need not exist.
FAKESCORE_API c10::Device gpu_of_local_rank(int local_rank) noexcept;

}  // namespace fakescore
