#pragma once

#include <filesystem>
#include <string>

#include "fuzz/folder_input.hpp"

namespace fakescore::fuzz {

/// A file in memory that is written anew for each input. Readers open it by its path.
class ScratchFile {
 public:
  ScratchFile();
  ~ScratchFile();
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  const std::filesystem::path& write(const std::string& content) const;

 private:
  int descriptor_;
  std::filesystem::path path_;
};

/// A folder in memory that is filled anew for each input.
class ScratchFolder {
 public:
  ScratchFolder();
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  /// Files of names that no file can have are left out.
  const std::filesystem::path& fill(const FolderFiles& files) const;

 private:
  std::filesystem::path path_;
};

}  // namespace fakescore::fuzz
