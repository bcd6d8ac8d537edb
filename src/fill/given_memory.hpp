#pragma once

#include <c10/core/Device.h>

#include <vector>

#include "fakescore/tensor/named_tensor.hpp"

namespace fakescore::detail {

/// Throws ConfigError for the first tensor that reaches beyond its storage: FSDP and its like take
/// a tensor's memory away by resizing its storage. One that is undefined or has no storage is
/// passed over.
void require_memory(const std::vector<NamedTensor>& tensors);

/// Throws ConfigError for the first tensor that is not on `device`.
void require_device(const std::vector<NamedTensor>& tensors, at::Device device);

}  // namespace fakescore::detail
