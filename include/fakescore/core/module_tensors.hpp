#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "fakescore/export.hpp"

namespace torch::nn {
class Module;
}

namespace fakescore {

enum class TensorKind : int {
  kParameter = 0,
  kBuffer = 1,
  kNonPersistentBuffer = 2,  ///< declared through NonPersistentBuffers
  kUnregistered = 3,         ///< a plain member that no module registered
};

FAKESCORE_API const char* to_string(TensorKind kind) noexcept;

/// One tensor of a module under its dotted name.
struct ModuleTensor {
  std::string name;
  at::Tensor tensor;  ///< the module's own tensor object, not a copy
  TensorKind kind = TensorKind::kParameter;
};

/// Every parameter and buffer: a module's own parameters, its own buffers, then its children, in
/// the order of registration. A tensor or a submodule that is registered under several names is
/// listed under each.
FAKESCORE_API std::vector<ModuleTensor> module_tensors(const torch::nn::Module& module);

}  // namespace fakescore
