#pragma once

#include <c10/core/ScalarType.h>

#include <optional>
#include <string>

namespace fakescore::detail {

/// Whether its elements are plain ones, unlike those of quantized and bit dtypes.
bool is_readable_dtype(at::ScalarType dtype);
/// The dtype of "torch.float8_e4m3fn" and its like.
std::optional<at::ScalarType> torch_dtype(const std::string& global);
/// The dtype of "torch.FloatStorage" and its like; bytes for "torch.storage.UntypedStorage". Python
/// names few dtypes so; TorchScript names all of them, by C++'s names ("torch.UInt16Storage").
std::optional<at::ScalarType> torch_storage_dtype(const std::string& global);

}  // namespace fakescore::detail
