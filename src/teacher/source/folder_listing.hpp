#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

namespace fakescore::detail {

/// The names of a folder that a checkpoint can have; looked at once.
struct FolderListing {
  std::filesystem::path folder;
  std::vector<std::string> files;       ///< regular ones, or links to such; sorted
  std::vector<std::string> dead_links;  ///< links that lead to nothing that can be reached; sorted

  bool has_file(const std::string& name) const;
  bool has_dead_link(const std::string& name) const;
};

/// Throws std::filesystem::filesystem_error where the folder itself cannot be read; what of its
/// entries cannot be looked at is no file.
FolderListing list_folder(const std::filesystem::path& folder);

/// The folder's weights that are not among the names `taken`, as paths; shards of one set are one
/// entry (FOLDER/model-*-of-00003.safetensors).
std::vector<std::string> paths_passed_over(const FolderListing& listing,
                                           const std::set<std::string>& taken);

}  // namespace fakescore::detail
