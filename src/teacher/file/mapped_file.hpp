#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

namespace fakescore::detail {

/// A file mapped read-only for as long as the object lives.
class MappedFile {
 public:
  enum class Access { kMapped, kMappedAndRead };

  /// Throws TeacherError naming the file.
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path,
                                                Access access = Access::kMapped);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  std::string_view text() const noexcept { return {reinterpret_cast<const char*>(data_), size_}; }
  /// Where in the file memory of the mapping begins; 0 for no memory.
  size_t offset_of(std::span<const std::byte> memory) const noexcept {
    return memory.empty() ? 0 : static_cast<size_t>(memory.data() - data_);
  }
  /// Copies bytes from `offset` on, which must lie in the file, without touching the mapping: its
  /// pages cost a fault each few, and as much again when they are unmapped. For files opened with
  /// Access::kMappedAndRead, which stay open. Throws TeacherError where the file has become shorter
  /// or cannot be read.
  void read(size_t offset, std::span<std::byte> to) const;
  /// Unmaps the whole pages of a range, which are mapped again when they are touched: what is done
  /// while bytes stream costs no time at the end.
  void forget(size_t offset, size_t bytes) const noexcept;
  size_t size() const noexcept { return size_; }
  /// mtime, in nanoseconds since the epoch, of the very file that is mapped.
  int64_t modified_ns() const noexcept { return modified_ns_; }
  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  explicit MappedFile(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
  int descriptor_ = -1;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  int64_t modified_ns_ = 0;
};

}  // namespace fakescore::detail
