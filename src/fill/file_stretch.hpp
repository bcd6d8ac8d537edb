#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "teacher/file/mapped_file.hpp"

namespace fakescore::detail {

/// The beginning of a file, to measure what reading it takes.
class FileStretch {
 public:
  /// Of `bytes`, or of all of a shorter file. Throws TeacherError naming the file.
  FileStretch(const std::filesystem::path& path, uint64_t bytes);

  uint64_t bytes() const noexcept { return bytes_; }
  void read(uint64_t begin, std::span<std::byte> to) const {
    file_->read(static_cast<size_t>(begin), to);
  }
  /// Has the page cache give its pages back, as far as it will.
  void cool() const;
  /// The part of it that the page cache has, 0 to 1.
  double cached() const;

 private:
  std::shared_ptr<const MappedFile> file_;
  uint64_t bytes_;
};

}  // namespace fakescore::detail
