#include "teacher/source/checkpoint_folder.hpp"

#include <algorithm>
#include <utility>

#include "error/join.hpp"
#include "teacher/file/teacher_error.hpp"
#include "teacher/formats/file_format.hpp"
#include "teacher/source/checkpoint_index.hpp"
#include "teacher/source/choose_checkpoint.hpp"
#include "teacher/source/folder_listing.hpp"
#include "teacher/source/open_distributed.hpp"
#include "teacher/source/weight_names.hpp"

namespace fakescore::detail {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

constexpr const char* kPipelineFile = "model_index.json";

/// What cannot be looked into, such as lost+found, holds none: it must not stand in the way of the
/// error that this is asked for.
bool holds_weights(const fs::path& folder) {
  if (is_distributed_checkpoint(folder)) return true;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code ignored;
    if (entry->is_regular_file(ignored) && is_weights_name(entry->path().filename().string())) {
      return true;
    }
  }
  return false;
}

/// The subfolders that could have been meant, in words.
std::string weighty_subfolders(const fs::path& folder) {
  Names names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    std::error_code ignored;
    if (entry.is_directory(ignored) && holds_weights(entry.path())) {
      names.push_back(entry.path().filename().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names.empty() ? "none of its subfolders holds weights"
                       : "its subfolders with weights: " + join_some(names);
}

[[noreturn]] void refuse_variant(const FolderListing& listing, const std::string& variant) {
  const auto variants = variants_in(listing.files);
  throw_teacher_error(
      listing.folder, "",
      "holds no checkpoint of the variant " + variant + "; its variants: " +
          (variants.empty() ? "none" : join_some({variants.begin(), variants.end()})),
      "give one of them, or leave the variant out");
}

/// "it holds a, b and 3 more": a format that is not read, a download that has not ended.
std::string describe_content(const FolderListing& listing) {
  if (listing.files.empty()) return "it holds no file";
  return "its files: " + join_some(listing.files);
}

[[noreturn]] void refuse_without_weights(const FolderListing& listing) {
  const bool has_shares =
      std::any_of(listing.files.begin(), listing.files.end(),
                  [](const std::string& name) { return name.ends_with(kDistributedData); });
  if (has_shares) {
    throw_teacher_error(listing.folder, "",
                        "holds .distcp files of a distributed checkpoint, but no .metadata, which "
                        "is written last: the save did not end, or was not copied whole",
                        "copy all of it, or give another save");
  }
  throw_teacher_error(listing.folder, "",
                      "holds no " + describe_suffixes() + " file and no index of them; " +
                          describe_content(listing) + "; " + weighty_subfolders(listing.folder),
                      "give the folder that holds the weights");
}

CheckpointFiles choose_in_folder(const fs::path& folder, const std::string& variant) {
  const FolderListing listing = list_folder(folder);
  if (auto found = choose_by_library(listing, variant)) return *std::move(found);
  if (variant.empty() && listing.has_file(kPipelineFile)) {
    throw_teacher_error(folder, "",
                        "is a pipeline of several models; " + weighty_subfolders(folder),
                        "give one as the subfolder, or name a file");
  }
  if (auto found = choose_the_only_one(listing, variant)) return *std::move(found);
  if (!variant.empty()) refuse_variant(listing, variant);
  refuse_without_weights(listing);
}

CheckpointFiles take_path(const fs::path& file) {
  if (names_numbered_shards(file)) return take_numbered_shards(file);
  if (file.extension() == ".json") return read_checkpoint_index(file);
  CheckpointFiles found;
  found.files = {file};
  found.choice.taken = file.string();
  return found;
}

void check_exists(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(fs::status(path, error))) {
    throw_teacher_error(path, "", "does not exist or cannot be reached",
                        "give a path that the root rank can read");
  }
}

/// A folder without permission, a loop of links.
[[noreturn]] void rethrow(const fs::filesystem_error& error, const fs::path& path) {
  throw_teacher_error(error.path1().empty() ? path : error.path1(), "",
                      "cannot be read: " + error.code().message(),
                      "give a path that the root rank can read");
}

fs::path enter_subfolder(const fs::path& path, const fs::path& subfolder) {
  const bool leaves = std::any_of(subfolder.begin(), subfolder.end(),
                                  [](const fs::path& part) { return part == ".."; });
  if (subfolder.is_absolute() || leaves) {
    throw_teacher_error(path, "", "has no subfolder " + subfolder.string(),
                        "give a folder below it, such as transformer");
  }
  if (!fs::is_directory(path / subfolder)) {
    throw_teacher_error(path, "",
                        "has no subfolder " + subfolder.string() + "; " + weighty_subfolders(path),
                        "give one of them");
  }
  return path / subfolder;
}

}  // namespace

fs::path resolve_checkpoint_path(const fs::path& path, const TeacherPathOptions& options) {
  try {
    if (!names_numbered_shards(path)) check_exists(path);
    const bool about_folders = !options.subfolder.empty() || !options.variant.empty();
    if (about_folders && !fs::is_directory(path)) {
      throw_teacher_error(path, "", "is a file: only a folder has subfolders and variants",
                          "give the folder, or leave subfolder and variant out");
    }
    return options.subfolder.empty() ? path : enter_subfolder(path, options.subfolder);
  } catch (const fs::filesystem_error& error) {
    rethrow(error, path);
  }
}

CheckpointFiles find_checkpoint_files(const fs::path& path, const std::string& variant) {
  try {
    CheckpointFiles found =
        fs::is_directory(path) ? choose_in_folder(path, variant) : take_path(path);
    if (found.index) check_shards_are_there(found);
    return found;
  } catch (const fs::filesystem_error& error) {
    rethrow(error, path);
  }
}

}  // namespace fakescore::detail
