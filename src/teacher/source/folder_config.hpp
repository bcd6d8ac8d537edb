#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "teacher/source/weight_names.hpp"

namespace fakescore::detail {

/// What the config.json of a folder says about its weights.
struct FolderConfig {
  std::optional<WeightsLibrary> library;  ///< whose configuration it is, where it says so
  /// Its "transformers_weights": the file that transformers loads, before any other; may be empty.
  std::string weights;
};

/// Says nothing where there is no config.json, or none that can be read: that is for whoever needs
/// the configuration to find.
FolderConfig read_folder_config(const std::filesystem::path& folder);

}  // namespace fakescore::detail
