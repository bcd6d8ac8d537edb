#include "teacher/formats/torch_file/torch_globals.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <string_view>
#include <utility>

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

/// Python's own types and constants. Protocols up to 2 write them under the module and the names
/// that Python 2 had, and bytes as a call of encode.
bool is_builtin_type(std::string_view global) {
  static const std::set<std::string_view> types{
      "Ellipsis", "NotImplemented", "bool", "bytearray", "bytes", "complex", "dict",
      "float",    "frozenset",      "int",  "list",      "long",  "object",  "range",
      "set",      "slice",          "str",  "tuple",     "type",  "unicode", "xrange"};
  for (const std::string_view module : {"builtins.", "__builtin__."}) {
    if (global.starts_with(module)) return types.contains(global.substr(module.size()));
  }
  return false;
}

/// What may be named beside them, dtypes, storages and tensor rebuilds.
bool is_plain_global(std::string_view global) {
  static const std::set<std::string_view> names{"UserDict.IterableUserDict",
                                                "UserDict.UserDict",
                                                "UserList.UserList",
                                                "UserString.UserString",
                                                "_codecs.encode",
                                                "collections.ChainMap",
                                                "collections.Counter",
                                                "collections.UserDict",
                                                "collections.UserList",
                                                "collections.UserString",
                                                "collections.OrderedDict",
                                                "collections.defaultdict",
                                                "collections.deque",
                                                "copy_reg._reconstructor",
                                                "copyreg._reconstructor",
                                                "torch.Size",
                                                "torch.Tensor",
                                                "torch.device",
                                                "torch.nn.parameter.Buffer",
                                                "torch.nn.parameter.Parameter"};
  return names.contains(global) || is_builtin_type(global);
}

/// Those that cannot be read are named all the same, so that a state dict beside one can be.
bool is_rebuild_global(std::string_view global) {
  static const std::set<std::string_view> names{
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
  return names.contains(global);
}

}  // namespace

bool is_readable_dtype(at::ScalarType dtype) {
  return std::find(kReadableDtypes.begin(), kReadableDtypes.end(), dtype) != kReadableDtypes.end();
}

std::optional<at::ScalarType> torch_dtype(std::string_view global) {
  constexpr size_t kMaxDtypeBytes = 64;
  if (!global.starts_with(kTorch) || global.size() > kMaxDtypeBytes) return std::nullopt;
  const auto& dtypes = c10::getStringToDtypeMap();
  const auto found = dtypes.find(std::string(global.substr(kTorch.size())));
  if (found == dtypes.end()) return std::nullopt;
  return found->second;
}

std::optional<at::ScalarType> torch_storage_dtype(std::string_view global) {
  constexpr std::string_view kStorage = "Storage";
  for (const auto& [name, dtype] : kStorages) {
    if (global == name) return dtype;
  }
  if (!global.starts_with(kTorch) || !global.ends_with(kStorage)) return std::nullopt;
  const std::string_view type = global.substr(kTorch.size());
  for (const at::ScalarType dtype : kReadableDtypes) {
    if (type.substr(0, type.size() - kStorage.size()) == c10::toString(dtype)) return dtype;
  }
  return std::nullopt;
}

bool is_dict_global(std::string_view global) {
  static const std::set<std::string_view> names{"__builtin__.dict", "builtins.dict",
                                                "collections.Counter", "collections.OrderedDict",
                                                "collections.defaultdict"};
  return names.contains(global);
}

bool is_torch_file_global(std::string_view global) {
  return is_plain_global(global) || is_rebuild_global(global) || torch_dtype(global) ||
         torch_storage_dtype(global) || global.starts_with("__torch__.") ||
         global.starts_with("torch.jit._pickle.");
}

}  // namespace fakescore::detail
