#include <array>
#include <utility>

#include "teacher/formats/safetensors/safetensors_header.hpp"

namespace fakescore::detail {
namespace {

constexpr std::array<std::pair<const char*, at::ScalarType>, 20> kDtypes{{
    {"BOOL", at::kBool},
    {"U8", at::kByte},
    {"I8", at::kChar},
    {"U16", at::kUInt16},
    {"I16", at::kShort},
    {"U32", at::kUInt32},
    {"I32", at::kInt},
    {"U64", at::kUInt64},
    {"I64", at::kLong},
    {"F16", at::kHalf},
    {"BF16", at::kBFloat16},
    {"F32", at::kFloat},
    {"F64", at::kDouble},
    {"C64", at::kComplexFloat},
    {"F8_E4M3", at::kFloat8_e4m3fn},
    {"F8_E5M2", at::kFloat8_e5m2},
    {"F8_E8M0", at::kFloat8_e8m0fnu},
    {"F8_E4M3FNUZ", at::kFloat8_e4m3fnuz},
    {"F8_E5M2FNUZ", at::kFloat8_e5m2fnuz},
    {"F4", at::kFloat4_e2m1fn_x2},
}};

}  // namespace

std::optional<at::ScalarType> safetensors_dtype(const std::string& name) {
  for (const auto& [known, dtype] : kDtypes) {
    if (name == known) return dtype;
  }
  return std::nullopt;
}

std::optional<std::string> safetensors_dtype_name(at::ScalarType dtype) {
  for (const auto& [name, known] : kDtypes) {
    if (dtype == known) return name;
  }
  return std::nullopt;
}

bool holds_pairs(at::ScalarType dtype) { return dtype == at::kFloat4_e2m1fn_x2; }

std::optional<std::vector<int64_t>> safetensors_shape(at::ScalarType dtype,
                                                      c10::IntArrayRef sizes) {
  std::vector<int64_t> shape = sizes.vec();
  if (!holds_pairs(dtype)) return shape;
  if (shape.empty() || __builtin_mul_overflow(shape.back(), 2, &shape.back())) return std::nullopt;
  return shape;
}

}  // namespace fakescore::detail
