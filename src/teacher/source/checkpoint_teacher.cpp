#include "teacher/source/checkpoint_teacher.hpp"

#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "teacher/file/teacher_error.hpp"
#include "teacher/formats/file_format.hpp"

namespace fakescore::detail {
namespace {

TeacherFile describe(const MappedFile& file, const Digest& header, bool is_index) {
  return {file.path().string(), file.size(), file.modified_ns(), header, is_index};
}

class BytesOfFile : public FileBytes {
 public:
  BytesOfFile(std::shared_ptr<const MappedFile> file, std::span<const std::byte> memory)
      : file_(std::move(file)), memory_(memory), offset_(file_->offset_of(memory)) {}
  std::span<const std::byte> memory() const override { return memory_; }
  void read(size_t begin, std::span<std::byte> to) const override {
    file_->read(offset_ + begin, to);
  }
  void forget(size_t begin, size_t bytes) const override { file_->forget(offset_ + begin, bytes); }

 private:
  std::shared_ptr<const MappedFile> file_;
  std::span<const std::byte> memory_;
  size_t offset_;
};

class CheckpointTeacher : public Teacher {
 public:
  CheckpointTeacher(const CheckpointFiles& found, const std::string& key) : choice_(found.choice) {
    if (found.index) {
      files_.push_back(describe(*found.index,
                                digest_bytes(found.index->bytes().data(), found.index->size()),
                                /*is_index=*/true));
    }
    for (const auto& path : found.files) {
      add_file(MappedFile::open(path, MappedFile::Access::kMappedAndRead), key, found);
    }
    if (found.index) {
      check_index_complete(found);
    } else if (found.files.size() > 1) {
      check_no_name_twice();
    }
  }

  const std::vector<TeacherTensor>& tensors() const override { return tensors_; }
  at::Tensor read(size_t index) override {
    const Stored& stored = stored_.at(index);
    return read_stored_tensor(stored.tensor, stored.file);
  }
  std::shared_ptr<const FileBytes> file_bytes(size_t index) override {
    const Stored& stored = stored_.at(index);
    if (!is_row_major(stored.tensor)) return nullptr;
    return std::make_shared<BytesOfFile>(stored.file, stored.tensor.memory);
  }
  std::map<std::string, std::string> metadata() const override { return metadata_; }
  std::vector<TeacherFile> files() const override { return files_; }
  TeacherChoice choice() const override { return choice_; }

 private:
  struct Stored {
    std::shared_ptr<const MappedFile> file;
    StoredTensor tensor;  ///< without its name, which is in tensors_
  };

  void add_file(const std::shared_ptr<const MappedFile>& file, const std::string& key,
                const CheckpointFiles& found) {
    CheckpointFile opened = open_checkpoint_file(file, key);
    files_.push_back(describe(*file, opened.header, /*is_index=*/false));
    metadata_.merge(opened.metadata);
    for (StoredTensor& tensor : opened.tensors) {
      check_against_index(tensor.name, file->path(), found);
      tensors_.push_back({std::exchange(tensor.name, {}), tensor.sizes, tensor.dtype,
                          file->path().string(), at::kCPU});
      stored_.push_back({file, std::move(tensor)});
    }
  }

  static void check_against_index(const std::string& name, const std::filesystem::path& path,
                                  const CheckpointFiles& found) {
    if (!found.index) return;
    const auto entry = found.weight_map.find(name);
    if (entry == found.weight_map.end() || found.files[entry->second] != path) {
      throw_teacher_error(
          path, name,
          "is in this shard, but the index " + found.index->path().string() + " does not say so");
    }
  }

  /// Every name of the index must have been found in the shard that it names.
  void check_index_complete(const CheckpointFiles& found) const {
    std::set<std::string_view> present;
    for (const TeacherTensor& tensor : tensors_) present.insert(tensor.name);
    for (const auto& [name, shard] : found.weight_map) {
      if (!present.contains(name)) {
        throw_teacher_error(found.files[shard], name,
                            "is missing from the shard that the index " +
                                found.index->path().string() + " names for it");
      }
    }
  }

  /// Shards without an index, which would say which of two is meant.
  void check_no_name_twice() const {
    std::map<std::string_view, std::string_view> file_of;
    for (const TeacherTensor& tensor : tensors_) {
      const auto [first, is_new] = file_of.emplace(tensor.name, tensor.file);
      if (is_new) continue;
      throw_teacher_error(tensor.file, tensor.name,
                          "is in " + std::string(first->second) +
                              " as well, and the index that would say which is meant is missing",
                          "fetch the index, or give the path of one file to read it alone");
    }
  }

  TeacherChoice choice_;
  std::vector<TeacherTensor> tensors_;
  std::vector<Stored> stored_;  ///< as tensors_
  std::map<std::string, std::string> metadata_;
  std::vector<TeacherFile> files_;
};

}  // namespace

std::unique_ptr<Teacher> open_checkpoint_files(const CheckpointFiles& found,
                                               const std::string& key) {
  return std::make_unique<CheckpointTeacher>(found, key);
}

}  // namespace fakescore::detail
