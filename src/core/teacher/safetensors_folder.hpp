#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace fakescore::detail {

/// The safetensors files that make up one checkpoint.
struct SafetensorsFiles {
  std::vector<std::filesystem::path> files;
  /// Tensor name -> file, of an index; empty for a single file.
  std::map<std::string, std::filesystem::path> weight_map;
  std::filesystem::path index;
};

/// Finds them from a file, an index or a folder. A folder's candidates, in this order:
/// diffusion_pytorch_model.safetensors, model.safetensors, their .index.json, the only
/// *.safetensors.index.json, the only *.safetensors. Throws TeacherError where nothing fits, where
/// several do, or where an index is malformed or names a file outside its folder.
SafetensorsFiles find_safetensors_files(const std::filesystem::path& path);

}  // namespace fakescore::detail
