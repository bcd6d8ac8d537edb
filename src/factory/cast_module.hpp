#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace torch::nn {
class Module;
}

namespace fakescore::detail {

/// Casts every floating-point parameter and buffer of a module, in place, and those of `plain` that
/// share a storage with one of them: its members that are not registered. torch::nn::Module::to
/// also casts integers and unties what shares storage; this does neither.
void cast_floating_tensors(torch::nn::Module& module, at::ScalarType dtype,
                           const std::vector<at::Tensor>& plain = {});

}  // namespace fakescore::detail
