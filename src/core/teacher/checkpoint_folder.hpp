#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/teacher/mapped_file.hpp"
#include "fakescore/core/teacher_source.hpp"

namespace fakescore::detail {

/// The files that make up one checkpoint.
struct CheckpointFiles {
  std::vector<std::filesystem::path> files;
  /// Tensor name -> its file's place in `files`, of an index; empty for a single file.
  std::map<std::string, size_t> weight_map;
  std::shared_ptr<const MappedFile> index;  ///< null for a single file
};

/// The folder or file that is meant: `path`, or the subfolder of it. Throws TeacherError where
/// there is no such thing, naming the subfolders that hold weights, and where a file was given
/// with options of folders.
std::filesystem::path resolve_checkpoint_path(const std::filesystem::path& path,
                                              const TeacherPathOptions& options);

/// Finds the files from a file, an index or a folder. Of a folder, in this order, those of
/// diffusers and transformers in the variant that is asked for: diffusion_pytorch_model and model
/// as .safetensors, their indices, diffusion_pytorch_model and pytorch_model as .bin, their
/// indices; then the only index of another name, the only .safetensors, the only .bin, .pt, .pth,
/// .ckpt or .jit. Throws TeacherError where nothing fits, where several do, or where an index is
/// malformed or names a file outside its folder.
CheckpointFiles find_checkpoint_files(const std::filesystem::path& path,
                                      const std::string& variant);

}  // namespace fakescore::detail
