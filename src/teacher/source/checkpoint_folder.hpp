#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "fakescore/teacher/teacher_source.hpp"
#include "teacher/file/mapped_file.hpp"

namespace fakescore::detail {

/// The files that make up one checkpoint.
struct CheckpointFiles {
  std::vector<std::filesystem::path> files;
  /// Tensor name -> its file's place in `files`, of an index; empty without one.
  std::map<std::string, size_t> weight_map;
  std::shared_ptr<const MappedFile> index;  ///< null without one
  TeacherChoice choice;
};

/// The folder or file that is meant: `path`, or the subfolder of it. Throws TeacherError where
/// there is no such thing, naming the subfolders that hold weights, and where a file was given
/// with options of folders.
std::filesystem::path resolve_checkpoint_path(const std::filesystem::path& path,
                                              const TeacherPathOptions& options);

/// Finds the files from a file, an index or a folder; of a folder, by the rules that
/// docs/teachers.md has under "How a file is found in a folder". Throws TeacherError where nothing
/// fits, where several do, or where an index is malformed, names a file outside its folder or one
/// that is not there.
CheckpointFiles find_checkpoint_files(const std::filesystem::path& path,
                                      const std::string& variant);

}  // namespace fakescore::detail
