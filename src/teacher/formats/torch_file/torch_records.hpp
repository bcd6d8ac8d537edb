#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "fakescore/tensor/digest.hpp"
#include "teacher/file/read_budget.hpp"

namespace caffe2::serialize {
class PyTorchStreamReader;
}

namespace fakescore::detail {

/// Whether these bytes begin as a zip archive does.
bool is_zip_archive(std::span<const std::byte> bytes);

/// The records of a zip archive as torch.save and TorchScript write it, found by LibTorch's own
/// reader and not copied by it: stored without compression, below one folder, whose name is left
/// out here ("data.pkl", "data/0"). Checksums are not looked at, as torch.load does not:
/// torch.serialization.set_crc32_options(False) leaves wrong ones.
class TorchRecords {
 public:
  /// `archive` is all of it and must live as long as this; `budget` gets what its directory has,
  /// and names the file. Throws TeacherError where it is no such archive.
  TorchRecords(std::span<const std::byte> archive, ReadBudget& budget);
  ~TorchRecords();
  TorchRecords(TorchRecords&& other) noexcept;
  TorchRecords& operator=(TorchRecords&& other) noexcept;

  bool has(const std::string& name) const;
  /// A view of the archive. Throws TeacherError naming `tensor`, where it is not empty, where there
  /// is no such record, where it is compressed or encrypted, or where it lies outside the archive.
  std::span<const std::byte> get(const std::string& name, const std::string& tensor = "") const;
  /// Of the records' names, sizes and places, and of what "data.pkl" holds.
  Digest digest() const;

  const std::filesystem::path& file() const noexcept { return file_; }

 private:
  std::span<const std::byte> archive_;
  std::filesystem::path file_;
  std::unique_ptr<caffe2::serialize::PyTorchStreamReader> reader_;
};

}  // namespace fakescore::detail
