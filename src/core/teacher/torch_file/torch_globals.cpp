#include "core/teacher/torch_file/torch_globals.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "core/teacher/torch_file/torch_tensor.hpp"

namespace fakescore::detail {
namespace {

constexpr std::string_view kTorch = "torch.";

/// Those with plain elements.
constexpr std::array kReadableDtypes{at::kBool,
                                     at::kByte,
                                     at::kChar,
                                     at::kShort,
                                     at::kInt,
                                     at::kLong,
                                     at::kUInt16,
                                     at::kUInt32,
                                     at::kUInt64,
                                     at::kHalf,
                                     at::kBFloat16,
                                     at::kFloat,
                                     at::kDouble,
                                     at::kComplexHalf,
                                     at::kComplexFloat,
                                     at::kComplexDouble,
                                     at::kFloat8_e4m3fn,
                                     at::kFloat8_e5m2,
                                     at::kFloat8_e4m3fnuz,
                                     at::kFloat8_e5m2fnuz,
                                     at::kFloat8_e8m0fnu,
                                     at::kFloat4_e2m1fn_x2};

/// The names that Python's torch.save gives storages.
constexpr std::array<std::pair<const char*, at::ScalarType>, 19> kStorages{{
    {"torch.UntypedStorage", at::kByte},
    {"torch.storage.UntypedStorage", at::kByte},
    {"torch.DoubleStorage", at::kDouble},
    {"torch.FloatStorage", at::kFloat},
    {"torch.HalfStorage", at::kHalf},
    {"torch.BFloat16Storage", at::kBFloat16},
    {"torch.LongStorage", at::kLong},
    {"torch.IntStorage", at::kInt},
    {"torch.ShortStorage", at::kShort},
    {"torch.CharStorage", at::kChar},
    {"torch.ByteStorage", at::kByte},
    {"torch.BoolStorage", at::kBool},
    {"torch.ComplexFloatStorage", at::kComplexFloat},
    {"torch.ComplexDoubleStorage", at::kComplexDouble},
    {"torch.QInt8Storage", at::kQInt8},
    {"torch.QInt32Storage", at::kQInt32},
    {"torch.QUInt8Storage", at::kQUInt8},
    {"torch.QUInt4x2Storage", at::kQUInt4x2},
    {"torch.QUInt2x4Storage", at::kQUInt2x4},
}};

/// What may be named beside dtypes, storages and tensor rebuilds. Protocol 2 writes Python's own
/// types under "__builtin__", and bytes as a call of encode.
const std::unordered_set<std::string>& plain_globals() {
  static const std::unordered_set<std::string> names{"collections.OrderedDict",
                                                     "collections.defaultdict",
                                                     "collections.Counter",
                                                     "_codecs.encode",
                                                     "builtins.bool",
                                                     "__builtin__.bool",
                                                     "builtins.bytearray",
                                                     "__builtin__.bytearray",
                                                     "builtins.complex",
                                                     "__builtin__.complex",
                                                     "builtins.dict",
                                                     "__builtin__.dict",
                                                     "builtins.float",
                                                     "__builtin__.float",
                                                     "builtins.frozenset",
                                                     "__builtin__.frozenset",
                                                     "builtins.int",
                                                     "__builtin__.int",
                                                     "builtins.list",
                                                     "__builtin__.list",
                                                     "builtins.set",
                                                     "__builtin__.set",
                                                     "builtins.tuple",
                                                     "__builtin__.tuple",
                                                     "torch.Size",
                                                     "torch.device",
                                                     "torch.Tensor",
                                                     "torch.nn.parameter.Parameter",
                                                     "torch.nn.parameter.Buffer"};
  return names;
}

/// Those that cannot be read are named all the same, so that a state dict beside one can be.
const std::unordered_set<std::string>& rebuild_globals() {
  static const std::unordered_set<std::string> names{
      "torch._utils._rebuild_tensor",
      "torch._utils._rebuild_tensor_v2",
      "torch._utils._rebuild_tensor_v3",
      "torch._utils._rebuild_parameter",
      "torch._utils._rebuild_parameter_with_state",
      "torch._tensor._rebuild_from_type_v2",
      "torch._utils._rebuild_qtensor",
      "torch._utils._rebuild_sparse_tensor",
      "torch._utils._rebuild_nested_tensor",
      "torch._utils._rebuild_wrapper_subclass",
      "torch._utils._rebuild_meta_tensor_no_storage",
      "torch._utils._rebuild_device_tensor_from_cpu_tensor",
      "torch._utils._rebuild_device_tensor_from_numpy",
      "torch.serialization._get_layout",
      "torch.per_tensor_affine",
      "torch.per_channel_affine",
      "torch.per_channel_affine_float_qparams"};
  return names;
}

}  // namespace

bool is_readable_dtype(at::ScalarType dtype) {
  return std::find(kReadableDtypes.begin(), kReadableDtypes.end(), dtype) != kReadableDtypes.end();
}

std::optional<at::ScalarType> torch_dtype(const std::string& global) {
  if (!global.starts_with(kTorch)) return std::nullopt;
  const auto& dtypes = c10::getStringToDtypeMap();
  const auto found = dtypes.find(global.substr(kTorch.size()));
  if (found == dtypes.end()) return std::nullopt;
  return found->second;
}

std::optional<at::ScalarType> torch_storage_dtype(const std::string& global) {
  for (const auto& [name, dtype] : kStorages) {
    if (global == name) return dtype;
  }
  for (const at::ScalarType dtype : kReadableDtypes) {
    if (global == std::string(kTorch) + c10::toString(dtype) + "Storage") return dtype;
  }
  return std::nullopt;
}

bool torch_file_allows(const std::string& global) {
  return plain_globals().contains(global) || rebuild_globals().contains(global) ||
         torch_dtype(global) || torch_storage_dtype(global) || global.starts_with("__torch__.") ||
         global.starts_with("torch.jit._pickle.");
}

}  // namespace fakescore::detail
