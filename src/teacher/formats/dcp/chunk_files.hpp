#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "teacher/file/mapped_file.hpp"
#include "teacher/file/stored_tensor.hpp"
#include "teacher/formats/dcp/sharded_tensor.hpp"

namespace fakescore::detail {

/// The files that chunks lie in, each mapped once. Use from one thread.
class ChunkFiles {
 public:
  /// `files` are those that the chunks' places number.
  explicit ChunkFiles(const std::vector<std::filesystem::path>& files);
  /// Maps the files of the tensor's chunks and checks that the chunks lie inside of them, without
  /// reading them. Throws TeacherError naming the file and the tensor.
  void add(const ShardedTensor& tensor);

  /// The chunk's elements in the mapping: reads what says where they are, and checks that it agrees
  /// with the tensor. Throws TeacherError naming the file and the tensor.
  StoredTensor find(const ShardedTensor& tensor, const TensorChunk& chunk);

  /// What keeps a chunk's memory mapped.
  std::shared_ptr<const MappedFile> mapping(const TensorChunk& chunk) const {
    return files_.at(chunk.place.file).mapping;
  }
  /// All that are mapped, in the order of the files.
  std::vector<std::shared_ptr<const MappedFile>> mappings() const;

 private:
  struct File {
    std::filesystem::path path;
    std::shared_ptr<const MappedFile> mapping;
    uint64_t claimed = 0;  ///< bytes of the chunks in it
  };
  struct SafetensorsItem {
    std::map<std::string, StoredTensor> tensors;
    std::map<std::string, std::vector<int64_t>> offsets;  ///< of the sharding info
  };

  StoredTensor find_in_archive(const ShardedTensor& tensor, const TensorChunk& chunk) const;
  StoredTensor find_in_safetensors(const ShardedTensor& tensor, const TensorChunk& chunk);
  const SafetensorsItem& safetensors_item(const ChunkPlace& place);

  std::vector<File> files_;
  /// By file and offset: one item holds the chunks of many tensors.
  std::map<std::pair<size_t, uint64_t>, SafetensorsItem> safetensors_;
};

}  // namespace fakescore::detail
