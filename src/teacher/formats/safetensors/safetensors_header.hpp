#pragma once

#include <c10/core/ScalarType.h>
#include <c10/util/ArrayRef.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "teacher/file/stored_tensor.hpp"

namespace fakescore::detail {

/// A file begins with its header's length, in this many bytes.
inline constexpr size_t kSafetensorsLengthBytes = 8;
inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;  ///< the format's own limit

struct SafetensorsHeader {
  std::vector<StoredTensor> tensors;  ///< in file order; their memory is that of the file
  std::map<std::string, std::string> metadata;
  size_t bytes = 0;  ///< of the header, its length field included
};

/// Parses and checks the header of a safetensors file
/// (https://huggingface.co/docs/safetensors/index#format): length, JSON, dtypes, shapes, and data
/// offsets that cover the rest of the file without holes or overlaps. `file` holds the whole file.
/// What it reads, safetensors 0.8 reads alike; of what that reads it refuses names that are there
/// twice, entries written as lists, and shapes without elements whose strides in bytes overflow.
/// Throws TeacherError naming `path` and the tensor.
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file,
                                           const std::filesystem::path& path);

/// "F32", "BF16", ...: the format's name of a dtype and back; nullopt for one it does not have.
std::optional<at::ScalarType> safetensors_dtype(const std::string& name);
std::optional<std::string> safetensors_dtype_name(at::ScalarType dtype);

/// Whether one element of LibTorch's dtype is two of the format's, side by side along the last
/// dimension: the format counts elements of four bits where LibTorch counts bytes.
bool holds_pairs(at::ScalarType dtype);
/// The format's shape of LibTorch's sizes; nullopt where it has none: such a dtype has pairs only.
std::optional<std::vector<int64_t>> safetensors_shape(at::ScalarType dtype, c10::IntArrayRef sizes);

}  // namespace fakescore::detail
