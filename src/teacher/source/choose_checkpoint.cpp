#include "teacher/source/choose_checkpoint.hpp"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "error/join.hpp"
#include "teacher/file/teacher_error.hpp"
#include "teacher/formats/weight_suffixes.hpp"
#include "teacher/source/checkpoint_index.hpp"
#include "teacher/source/folder_config.hpp"
#include "teacher/source/numbered_shards.hpp"
#include "teacher/source/weight_names.hpp"

namespace fakescore::detail {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

/// What chooses where nothing else does.
std::string how_to_choose(const FolderListing& listing, const Names& candidates) {
  std::string remedy = "give the path of the one that is meant: " +
                       teacher_option((listing.folder / candidates.front()).string());
  const auto variants = variants_in(candidates);
  if (!variants.empty()) remedy += ", or its variant: --variant " + *variants.begin();
  return remedy;
}

[[noreturn]] void refuse_dead_link(const FolderListing& listing, const std::string& name) {
  const fs::path link = listing.folder / name;
  std::error_code ignored;
  const fs::path target = fs::read_symlink(link, ignored);
  std::string message = "cannot be read: it is a link to " + target.string() +
                        ", which is not there or cannot be reached";
  std::string remedy = "fetch what it should lead to";
  Names others;
  for (const std::string& file : listing.files) {
    if (is_weights_name(file)) others.push_back(file);
  }
  if (!others.empty()) {
    message += "; beside it: " + join_some(others);
    remedy += ", or give the path of the file that is meant: " +
              teacher_option((listing.folder / others.front()).string());
  }
  throw_teacher_error(link, "", message, remedy);
}

CheckpointFiles take_file(const FolderListing& listing, const std::string& name) {
  if (listing.has_dead_link(name)) refuse_dead_link(listing, name);
  const fs::path path = listing.folder / name;
  CheckpointFiles found;
  if (path.extension() == ".json") {
    found = read_checkpoint_index(path);
  } else {
    found.files = {path};
  }
  std::set<std::string> taken{name};
  for (const fs::path& file : found.files) taken.insert(file.filename().string());
  found.choice = {path.string(), paths_passed_over(listing, taken)};
  return found;
}

CheckpointFiles take_shards(const FolderListing& listing, const NumberedShards& shards) {
  const fs::path path = listing.folder / shards.name;
  if (!shards.is_complete()) {
    throw_teacher_error(path, "",
                        "has no index (" + shards.whole +
                            ".index.json) and is not complete: " + shards.describe_fault(),
                        "fetch what is missing, or give the path of one shard to read it alone");
  }
  CheckpointFiles found;
  std::set<std::string> taken;
  for (const auto& [number, name] : shards.files) {
    found.files.push_back(listing.folder / name);
    taken.insert(name);
  }
  found.choice = {path.string(), paths_passed_over(listing, taken)};
  return found;
}

/// The first name of a library that is there, if only as a link; empty for none.
std::string first_of(const FolderListing& listing, WeightsLibrary library,
                     const std::string& variant) {
  for (const std::string& name : library_names(library, variant)) {
    if (listing.has_file(name) || listing.has_dead_link(name)) return name;
  }
  return "";
}

/// transformers loads what its configuration names, whatever else there is.
std::string configured_name(const FolderListing& listing, const std::string& name) {
  if (!listing.has_file(name) && !listing.has_dead_link(name)) {
    throw_teacher_error(listing.folder / "config.json", "",
                        "names " + name + " as the weights, which is no file of its folder",
                        "fetch it, or give the path of the file that is meant");
  }
  return name;
}

/// diffusers loads the file, but the index where it is asked for .bin: that says nothing here.
void refuse_two_of_bin(const FolderListing& listing, const std::string& name,
                       const std::string& variant) {
  if (!name.starts_with("diffusion_pytorch_model") || !name.ends_with(".bin")) return;
  for (const std::string& other : library_names(WeightsLibrary::kDiffusers, variant)) {
    if (other.find(".bin.") == std::string::npos || !listing.has_file(other)) continue;
    std::string text = "holds both ";
    text.append(name).append(" and ").append(other);
    text += ", of which diffusers takes now the one and now the other";
    throw_teacher_error(listing.folder, "", text, how_to_choose(listing, {name, other}));
  }
}

/// The checkpoints of a folder, each as the name that stands for it.
class Candidates {
 public:
  Candidates(const FolderListing& listing, const std::string& variant) : listing_(listing) {
    std::copy_if(listing.files.begin(), listing.files.end(), std::back_inserter(indices_),
                 is_index_name);
    if (!variant.empty()) {
      keep_sets_of(variant);
      return;
    }
    // Its shards are no candidates of their own. Of several, it does not matter whose they are.
    std::set<std::string> explained(indices_.begin(), indices_.end());
    if (indices_.size() == 1) {
      index_ = take_file(listing, indices_.front());
      for (const fs::path& file : index_->files) explained.insert(file.filename().string());
    }
    Names files;
    for (const std::string& name : listing.files) {
      if (is_weights_name(name) && !explained.contains(name)) files.push_back(name);
    }
    shards_ = find_numbered_shards(files);
    for (const std::string& name : files) {
      if (!parse_shard_name(name)) singles_.push_back(name);
    }
    std::copy_if(listing.dead_links.begin(), listing.dead_links.end(), std::back_inserter(singles_),
                 is_weights_name);
  }

  std::optional<CheckpointFiles> only() const {
    Names names = indices_;
    for (const NumberedShards& set : shards_) names.push_back(set.name);
    names.insert(names.end(), singles_.begin(), singles_.end());
    if (names.empty()) return std::nullopt;
    if (names.size() > 1) {
      throw_teacher_error(listing_.folder, "", "holds several checkpoints: " + join_some(names),
                          how_to_choose(listing_, names));
    }
    if (index_) return index_;
    return shards_.empty() ? take_file(listing_, singles_.front())
                           : take_shards(listing_, shards_.front());
  }

 private:
  void keep_sets_of(const std::string& variant) {
    indices_.clear();
    std::set<std::string> wanted;
    for (const WeightsLibrary library : kWeightsLibraries) {
      for (std::string& name : library_names(library, variant)) wanted.insert(std::move(name));
    }
    for (NumberedShards& set : find_numbered_shards(listing_.files)) {
      if (wanted.contains(set.whole)) shards_.push_back(std::move(set));
    }
  }

  const FolderListing& listing_;
  Names indices_;
  std::optional<CheckpointFiles> index_;  ///< where there is only one
  std::vector<NumberedShards> shards_;    ///< of no index
  Names singles_;
};

}  // namespace

std::optional<CheckpointFiles> choose_by_library(const FolderListing& listing,
                                                 const std::string& variant) {
  if (listing.has_dead_link(kDistributedMetadata)) refuse_dead_link(listing, kDistributedMetadata);
  const FolderConfig config = read_folder_config(listing.folder);
  if (variant.empty() && !config.weights.empty()) {
    return take_file(listing, configured_name(listing, config.weights));
  }
  const std::string diffusers = first_of(listing, WeightsLibrary::kDiffusers, variant);
  const std::string transformers = first_of(listing, WeightsLibrary::kTransformers, variant);
  std::string name = diffusers.empty() ? transformers : diffusers;
  if (name.empty()) return std::nullopt;
  if (!diffusers.empty() && !transformers.empty()) {
    if (!config.library) {
      throw_teacher_error(listing.folder, "",
                          "holds weights under the names of diffusers (" + diffusers +
                              ") and of transformers (" + transformers +
                              "), and no config.json that says whose it is",
                          how_to_choose(listing, {diffusers, transformers}));
    }
    if (*config.library == WeightsLibrary::kTransformers) name = transformers;
  }
  refuse_two_of_bin(listing, name, variant);
  return take_file(listing, name);
}

bool names_numbered_shards(const fs::path& path) {
  std::error_code error;
  return path.filename().string().find("-*-of-") != std::string::npos && !fs::exists(path, error);
}

CheckpointFiles take_numbered_shards(const fs::path& path) {
  const FolderListing listing =
      list_folder(path.has_parent_path() ? path.parent_path() : fs::path("."));
  for (const NumberedShards& set : find_numbered_shards(listing.files)) {
    if (set.name != path.filename()) continue;
    CheckpointFiles found = take_shards(listing, set);
    found.choice = {path.string(), {}};
    return found;
  }
  throw_teacher_error(path, "", "is no set of numbered shards of its folder",
                      "give the name that all have, with a star for the number of each");
}

std::optional<CheckpointFiles> choose_the_only_one(const FolderListing& listing,
                                                   const std::string& variant) {
  return Candidates(listing, variant).only();
}

}  // namespace fakescore::detail
