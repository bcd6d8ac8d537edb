#include "core/teacher/dcp/sharded_safetensors.hpp"

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <regex>
#include <utility>

#include "core/teacher/dcp/key_choice.hpp"
#include "core/teacher/mapped_file.hpp"
#include "core/teacher/safetensors_header.hpp"
#include "core/teacher/teacher_error.hpp"

namespace fakescore::detail {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// Collects chunks by tensor, in the order in which the tensors are first seen.
class TensorsOfShards {
 public:
  void add_file(const fs::path& path) {
    const auto file = MappedFile::open(path);
    const auto header = parse_safetensors_header({file->data(), file->size()}, path);
    const auto info = header.metadata.find(kShardingInfoKey);
    if (info == header.metadata.end()) {
      throw_teacher_error(path, "",
                          std::string("is named as a shard but has no ") + kShardingInfoKey,
                          "save it with HuggingFaceStorageWriter");
    }
    const auto offsets = parse_sharding_info(info->second, path);
    digests_.add(digest_bytes(file->data(), header.bytes));
    for (const SafetensorsEntry& entry : header.entries) {
      const auto found = offsets.find(entry.name);
      if (found == offsets.end() || found->second.size() != entry.sizes.size()) {
        throw_teacher_error(path, entry.name,
                            std::string(kShardingInfoKey) + " does not say where it begins");
      }
      add_chunk(entry, {found->second, entry.sizes}, path);
    }
  }

  ShardedCheckpoint take(const std::string& key, const fs::path& folder) {
    std::vector<std::string_view> names;
    for (const ShardedTensor& tensor : tensors_) names.push_back(tensor.name);
    check_key(key, names, folder);
    ShardedCheckpoint checkpoint;
    checkpoint.header = digests_.value();
    for (ShardedTensor& tensor : tensors_) {
      if (!tensor.name.starts_with(key_prefix(key))) continue;
      check_chunks(tensor, folder);
      checkpoint.tensors.push_back(std::move(tensor));
    }
    return checkpoint;
  }

 private:
  void add_chunk(const SafetensorsEntry& entry, Box box, const fs::path& path) {
    const auto [place, is_new] = index_.emplace(entry.name, tensors_.size());
    if (is_new) {
      tensors_.push_back(
          {entry.name, entry.dtype, std::vector<int64_t>(entry.sizes.size(), 0), {}});
    }
    ShardedTensor& tensor = tensors_[place->second];
    if (tensor.dtype != entry.dtype || tensor.sizes.size() != entry.sizes.size()) {
      throw_teacher_error(path, entry.name, "has another dtype or rank in another shard");
    }
    for (size_t dim = 0; dim < box.sizes.size(); ++dim) {
      int64_t end = 0;
      if (__builtin_add_overflow(box.offsets[dim], box.sizes[dim], &end)) {
        throw_teacher_error(path, entry.name, "its offset overflows");
      }
      // An empty share begins where the tensor ends, as far as its own dimension is concerned.
      tensor.sizes[dim] = std::max(tensor.sizes[dim], end);
    }
    tensor.chunks.push_back({std::move(box), {path, 0, entry.end - entry.begin}});
  }

  std::vector<ShardedTensor> tensors_;
  std::map<std::string, size_t> index_;
  DigestSequence digests_;
};

}  // namespace

std::map<std::string, std::vector<int64_t>> parse_sharding_info(const std::string& text,
                                                                const fs::path& file) {
  const auto refuse = [&]() {
    throw_teacher_error(file, "",
                        std::string(kShardingInfoKey) + " does not map names to saved_offsets");
  };
  const json content = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!content.is_object()) refuse();
  std::map<std::string, std::vector<int64_t>> result;
  for (const auto& [name, value] : content.items()) {
    const auto is_offset = [](const json& offset) {
      return offset.is_number_unsigned() && offset.get<uint64_t>() <= uint64_t{INT64_MAX};
    };
    if (!value.is_object() || !value.contains("saved_offsets")) refuse();
    const json& offsets = value["saved_offsets"];
    if (!offsets.is_array() || !std::all_of(offsets.begin(), offsets.end(), is_offset)) refuse();
    result.emplace(name, offsets.get<std::vector<int64_t>>());
  }
  return result;
}

bool is_safetensors_shard(const fs::path& file) {
  static const std::regex kPattern(R"(shard-\d{5,10}-model-\d{5,10}-of-\d{5,10}\.safetensors)");
  return std::regex_match(file.filename().string(), kPattern);
}

void refuse_shard(const SafetensorsHeader& header, const fs::path& file) {
  const auto info = header.metadata.find(kShardingInfoKey);
  if (info == header.metadata.end()) return;
  bool is_share = is_safetensors_shard(file);
  for (const auto& [name, offsets] : parse_sharding_info(info->second, file)) {
    is_share = is_share || std::any_of(offsets.begin(), offsets.end(), std::identity());
  }
  if (!is_share) return;
  throw_teacher_error(file, "", "holds one rank's share of its tensors",
                      "give the folder with every rank's shard-*.safetensors, or join them with "
                      "torch.distributed.checkpoint's consolidate_safetensors_files");
}

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
