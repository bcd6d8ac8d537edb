#pragma once

#include <filesystem>
#include <memory>

#include "fakescore/core/teacher_source.hpp"

namespace fakescore::detail {

/// Opens a safetensors checkpoint: a file, an index or a folder.
std::unique_ptr<Teacher> open_safetensors_teacher(const std::filesystem::path& path);

}  // namespace fakescore::detail
