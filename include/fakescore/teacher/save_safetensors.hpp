#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "fakescore/export.hpp"
#include "fakescore/tensor/named_tensor.hpp"

namespace fakescore {

/// Writes tensors as one safetensors file, in the order given; "__metadata__" holds `metadata`.
/// Tensors must be on the CPU; non-contiguous ones are written in logical order. The file appears
/// under its name only once it is complete. Throws TeacherError naming the file.
FAKESCORE_API void save_safetensors(const std::filesystem::path& path,
                                    const std::vector<NamedTensor>& tensors,
                                    const std::map<std::string, std::string>& metadata = {});

}  // namespace fakescore
