#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>

namespace fakescore::detail {

/// A file mapped read-only for as long as the object lives.
class MappedFile {
 public:
  /// Throws TeacherError naming the file.
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::byte* data() const noexcept { return data_; }
  size_t size() const noexcept { return size_; }
  /// mtime, in nanoseconds since the epoch, of the very file that is mapped.
  int64_t modified_ns() const noexcept { return modified_ns_; }
  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  MappedFile(std::filesystem::path path, const std::byte* data, size_t size, int64_t modified_ns);
  std::filesystem::path path_;
  const std::byte* data_;
  size_t size_;
  int64_t modified_ns_;
};

}  // namespace fakescore::detail
