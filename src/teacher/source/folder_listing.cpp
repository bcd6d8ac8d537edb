#include "teacher/source/folder_listing.hpp"

#include <algorithm>

#include "teacher/source/weight_names.hpp"

namespace fakescore::detail {

namespace fs = std::filesystem;

bool FolderListing::has_file(const std::string& name) const {
  return std::binary_search(files.begin(), files.end(), name);
}

bool FolderListing::has_dead_link(const std::string& name) const {
  return std::binary_search(dead_links.begin(), dead_links.end(), name);
}

FolderListing list_folder(const fs::path& folder) {
  FolderListing listing{folder, {}, {}};
  for (const auto& entry : fs::directory_iterator(folder)) {
    std::error_code error;
    const fs::file_status status = entry.status(error);
    const bool is_reached = !error && fs::exists(status);
    std::error_code ignored;
    std::string name = entry.path().filename().string();
    if (is_reached && fs::is_regular_file(status)) {
      listing.files.push_back(std::move(name));
    } else if (!is_reached && entry.is_symlink(ignored)) {
      listing.dead_links.push_back(std::move(name));
    }
  }
  std::sort(listing.files.begin(), listing.files.end());
  std::sort(listing.dead_links.begin(), listing.dead_links.end());
  return listing;
}

std::vector<std::string> paths_passed_over(const FolderListing& listing,
                                           const std::set<std::string>& taken) {
  std::set<std::string> names;
  for (const auto* some : {&listing.files, &listing.dead_links}) {
    for (const std::string& name : *some) {
      if (!is_weights_name(name) || taken.contains(name)) continue;
      const auto shard = parse_shard_name(name);
      names.insert(shard ? shard->set : name);
    }
  }
  std::vector<std::string> paths;
  paths.reserve(names.size());
  for (const std::string& name : names) paths.push_back((listing.folder / name).string());
  return paths;
}

}  // namespace fakescore::detail
