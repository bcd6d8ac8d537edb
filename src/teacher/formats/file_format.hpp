#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "teacher/file/mapped_file.hpp"
#include "teacher/formats/checkpoint_file.hpp"
#include "teacher/formats/weight_suffixes.hpp"

namespace fakescore::detail {

/// A format of files that hold tensors.
struct FileFormat {
  const char* name;   ///< "a safetensors file"
  Suffixes suffixes;  ///< how names of its files end
  /// Whether these suffixes are this format's alone: what has one is meant to be such a file.
  bool owns_suffixes;
  /// Whether a file of these bytes begins as one.
  bool (*recognises)(std::span<const std::byte> file);
  /// `key` says where the file nests its state dict, if the format has that. Throws TeacherError
  /// naming the file, also for a key that the format does not have.
  CheckpointFile (*open)(const std::shared_ptr<const MappedFile>& file, const std::string& key);
};

/// All that are read. One is added here, and in weight_suffixes.hpp.
std::span<const FileFormat> file_formats();

/// Opens a file by what it begins with. Throws TeacherError naming the file.
CheckpointFile open_checkpoint_file(const std::shared_ptr<const MappedFile>& file,
                                    const std::string& key);

/// Whether a name ends as only weights do.
bool has_own_suffix(std::string_view name);

/// ".safetensors, .bin or .pt": all suffixes in words.
std::string describe_suffixes();

}  // namespace fakescore::detail
