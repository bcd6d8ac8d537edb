#include "teacher/formats/dcp/sharded_safetensors.hpp"

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

#include "teacher/file/mapped_file.hpp"
#include "teacher/file/teacher_error.hpp"
#include "teacher/formats/dcp/key_choice.hpp"
#include "teacher/formats/safetensors/safetensors_header.hpp"
#include "teacher/formats/safetensors/sharding_info.hpp"

namespace fakescore::detail {
namespace {

namespace fs = std::filesystem;

/// Collects chunks by tensor, in the order in which the tensors are first seen.
class TensorsOfShards {
 public:
  void add_file(const fs::path& path) {
    const size_t number = files_.size();
    files_.push_back(path);
    const auto file = MappedFile::open(path);
    const auto header = parse_safetensors_header(file->bytes(), path);
    const auto info = header.metadata.find(kShardingInfoKey);
    if (info == header.metadata.end()) {
      throw_teacher_error(path, "",
                          std::string("is named as a shard but has no ") + kShardingInfoKey,
                          "save it with HuggingFaceStorageWriter");
    }
    const auto offsets = parse_sharding_info(info->second, path);
    digests_.add(digest_bytes(file->bytes().data(), header.bytes));
    for (const StoredTensor& stored : header.tensors) {
      const auto found = offsets.find(stored.name);
      if (found == offsets.end() || found->second.size() != stored.sizes.size()) {
        throw_teacher_error(path, stored.name,
                            std::string(kShardingInfoKey) + " does not say where it begins");
      }
      add_chunk(stored, {found->second, stored.sizes}, number);
    }
  }

  ShardedCheckpoint take(const std::string& key, const fs::path& folder) {
    std::vector<std::string_view> names;
    for (const ShardedTensor& tensor : tensors_) names.push_back(tensor.name);
    check_key(key, names, folder);
    ShardedCheckpoint checkpoint;
    checkpoint.header = digests_.value();
    checkpoint.files = std::move(files_);
    for (ShardedTensor& tensor : tensors_) {
      if (!tensor.name.starts_with(key_prefix(key))) continue;
      check_chunks(tensor, folder);
      checkpoint.tensors.push_back(std::move(tensor));
    }
    return checkpoint;
  }

 private:
  void add_chunk(const StoredTensor& stored, Box box, size_t file) {
    const auto [place, is_new] = index_.emplace(stored.name, tensors_.size());
    if (is_new) {
      tensors_.push_back(
          {stored.name, stored.dtype, std::vector<int64_t>(stored.sizes.size(), 0), {}});
    }
    ShardedTensor& tensor = tensors_[place->second];
    if (tensor.dtype != stored.dtype || tensor.sizes.size() != stored.sizes.size()) {
      throw_teacher_error(files_[file], stored.name, "has another dtype or rank in another shard");
    }
    for (size_t dim = 0; dim < box.sizes.size(); ++dim) {
      int64_t end = 0;
      if (__builtin_add_overflow(box.offsets[dim], box.sizes[dim], &end)) {
        throw_teacher_error(files_[file], stored.name, "its offset overflows");
      }
      // An empty share begins where the tensor ends, as far as its own dimension is concerned.
      tensor.sizes[dim] = std::max(tensor.sizes[dim], end);
    }
    tensor.chunks.push_back({std::move(box), {file, 0, stored.memory.size()}});
  }

  std::vector<fs::path> files_;
  std::vector<ShardedTensor> tensors_;
  std::map<std::string, size_t> index_;
  DigestSequence digests_;
};

}  // namespace

std::vector<fs::path> find_safetensors_shards(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (is_safetensors_shard(entry->path())) files.push_back(entry->path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

ShardedCheckpoint read_safetensors_shards(const std::vector<fs::path>& files,
                                          const std::string& key, const fs::path& folder) {
  TensorsOfShards tensors;
  for (const fs::path& file : files) tensors.add_file(file);
  return tensors.take(key, folder);
}

}  // namespace fakescore::detail
