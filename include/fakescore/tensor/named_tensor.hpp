#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>

#include "fakescore/export.hpp"
#include "fakescore/tensor/shard.hpp"

namespace fakescore {

enum class TensorKind : int {
  kParameter = 0,
  kBuffer = 1,
  kNonPersistentBuffer = 2,  ///< a buffer that a state dict leaves out
  kUnregistered = 3,         ///< a plain member that no module registered
};

FAKESCORE_API const char* to_string(TensorKind kind) noexcept;

/// A tensor under its name, of a module or of a state dict.
struct NamedTensor {
  std::string name;
  at::Tensor tensor;  ///< the owner's own tensor object, not a copy
  TensorKind kind = TensorKind::kParameter;
  std::optional<Shard> shard = {};  ///< where `tensor` is this rank's part of a larger one
};

}  // namespace fakescore
