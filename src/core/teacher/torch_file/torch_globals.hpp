#pragma once

#include <c10/core/ScalarType.h>

#include <optional>
#include <string>

namespace fakescore::detail {

/// The dtype of "torch.float8_e4m3fn" and its like.
std::optional<at::ScalarType> torch_dtype(const std::string& global);
/// The dtype of "torch.FloatStorage" and its like; bytes for "torch.storage.UntypedStorage".
std::optional<at::ScalarType> torch_storage_dtype(const std::string& global);

}  // namespace fakescore::detail
