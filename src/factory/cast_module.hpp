#pragma once

#include <ATen/core/Tensor.h>

namespace torch::nn {
class Module;
}

namespace fakescore::detail {

/// Casts every floating-point parameter and buffer of a module, in place. torch::nn::Module::to
/// also casts integers and unties what shares storage; this does neither.
void cast_floating_tensors(torch::nn::Module& module, at::ScalarType dtype);

}  // namespace fakescore::detail
