#pragma once

#include <c10/core/ScalarType.h>

#include <optional>
#include <string_view>

namespace fakescore::detail {

/// Whether this is a global of plain data: tensors, their storages and dtypes, Python's own types
/// and containers by every name that a pickle protocol gives them, and what TorchScript writes
/// ("__torch__." and its types of lists). Others are foreign.
bool is_torch_file_global(std::string_view global);

/// Whether it makes a dict: OrderedDict, defaultdict, Counter, dict.
bool is_dict_global(std::string_view global);

/// Whether its elements are plain ones, unlike those of quantized and bit dtypes.
bool is_readable_dtype(at::ScalarType dtype);
/// The dtype of "torch.float8_e4m3fn" and its like.
std::optional<at::ScalarType> torch_dtype(std::string_view global);
/// The dtype of "torch.FloatStorage" and its like; bytes for "torch.storage.UntypedStorage". Python
/// names few dtypes so; TorchScript names all of them, by C++'s names ("torch.UInt16Storage").
std::optional<at::ScalarType> torch_storage_dtype(std::string_view global);

}  // namespace fakescore::detail
