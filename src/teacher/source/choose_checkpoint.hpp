#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "teacher/source/checkpoint_folder.hpp"
#include "teacher/source/folder_listing.hpp"

namespace fakescore::detail {

/// Of a folder, the file that diffusers or transformers would load, by their own names and order;
/// nullopt where there is none of these names. Throws TeacherError where it is a link that leads
/// nowhere, where both libraries have files and config.json does not say whose it is, and where
/// their rules do not say which of two is meant.
std::optional<CheckpointFiles> choose_by_library(const FolderListing& listing,
                                                 const std::string& variant);

/// Whether a path means all numbered shards of a set, as TeacherChoice names them:
/// FOLDER/model-*-of-00003.safetensors.
bool names_numbered_shards(const std::filesystem::path& path);

/// These, in their order. Throws TeacherError where they are not complete.
CheckpointFiles take_numbered_shards(const std::filesystem::path& path);

/// Of a folder without such names, its only checkpoint: an index with its shards, all numbered
/// shards of a set, or a file; with a variant, the set of that variant. nullopt where there is
/// none. Throws TeacherError where there are several, and where shards without an index are not
/// complete.
std::optional<CheckpointFiles> choose_the_only_one(const FolderListing& listing,
                                                   const std::string& variant);

}  // namespace fakescore::detail
