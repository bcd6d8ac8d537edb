#include "fakescore/tensor/named_tensor.hpp"

namespace fakescore {

const char* to_string(TensorKind kind) noexcept {
  switch (kind) {
    case TensorKind::kParameter:
      return "parameter";
    case TensorKind::kBuffer:
      return "buffer";
    case TensorKind::kNonPersistentBuffer:
      return "non-persistent buffer";
    case TensorKind::kUnregistered:
      return "unregistered tensor";
  }
  return "tensor";
}

}  // namespace fakescore
