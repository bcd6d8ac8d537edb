#pragma once

#include <ATen/core/Tensor.h>

namespace fakescore::emulation {

/// aten::copy_ for CUDA tensors. Copies between host and device are LibTorch's own; what it does on
/// a device with a kernel, casts and strides, runs on the CPU at its place in the current stream.
at::Tensor& copy_on_stream(at::Tensor& to, const at::Tensor& from, bool non_blocking);

}  // namespace fakescore::emulation
