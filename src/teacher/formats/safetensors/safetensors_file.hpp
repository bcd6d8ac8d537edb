#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "teacher/file/mapped_file.hpp"
#include "teacher/formats/checkpoint_file.hpp"

namespace fakescore::detail {

/// Whether a file begins as safetensors files do: the length of a header, and a header.
bool begins_as_safetensors(std::span<const std::byte> file);

/// A safetensors file: https://huggingface.co/docs/safetensors/index#format. Such files have no
/// keys. Throws TeacherError naming the file.
CheckpointFile open_safetensors_file(const std::shared_ptr<const MappedFile>& file,
                                     const std::string& key);

}  // namespace fakescore::detail
