#include "teacher/formats/dcp/sharded_safetensors.hpp"

#include <algorithm>
#include <functional>
#include <optional>
#include <string_view>
#include <utility>

#include "teacher/file/json_events.hpp"
#include "teacher/file/mapped_file.hpp"
#include "teacher/file/read_budget.hpp"
#include "teacher/file/teacher_error.hpp"
#include "teacher/formats/dcp/key_choice.hpp"
#include "teacher/formats/safetensors/safetensors_header.hpp"

namespace fakescore::detail {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSavedOffsets = "saved_offsets";
constexpr uint64_t kInfoMemory = 240;  // of a name, beside the name itself
constexpr uint64_t kOffsetMemory = 64;
constexpr const char* kManyOffsets = "says more offsets than it has room for";

/// Collects {"NAME": {"saved_offsets": [ROW, ...]}}.
class ShardingInfoListener : public JsonListener {
 public:
  ShardingInfoListener(const fs::path& file, ReadBudget& budget) : file_(file), budget_(budget) {}

  void begin_object(size_t depth) override {
    if (depth > 1) other(depth);
  }
  void begin_array(size_t depth) override {
    if (depth == 2 && is_offsets_ && !offsets_) {
      offsets_.emplace();
    } else {
      other(depth);
    }
  }
  void end(size_t depth) override {
    if (depth == 2) is_offsets_ = false;
    if (depth != 1) return;
    if (!offsets_ || !result_.emplace(std::move(name_), *std::move(offsets_)).second) refuse();
    offsets_.reset();
  }
  void key(size_t depth, std::string& name) override {
    if (depth == 1) {
      budget_.charge_memory(kInfoMemory + 2 * name.size(), kManyOffsets);
      name_ = std::move(name);
    }
    if (depth == 2) is_offsets_ = name == kSavedOffsets;
  }
  void count(size_t depth, uint64_t value) override {
    if (depth != 3 || !is_offsets_ || value > uint64_t{INT64_MAX}) return other(depth);
    budget_.charge_memory(kOffsetMemory, kManyOffsets);
    offsets_->push_back(static_cast<int64_t>(value));
  }
  void other(size_t depth) override {
    if (depth < 2 || is_offsets_) refuse();
  }

  std::map<std::string, std::vector<int64_t>> take() { return std::move(result_); }

 private:
  [[noreturn]] void refuse() const {
    throw_teacher_error(file_, "",
                        std::string(kShardingInfoKey) + " does not map names to saved_offsets");
  }

  const fs::path& file_;
  ReadBudget& budget_;
  std::map<std::string, std::vector<int64_t>> result_;
  std::string name_;
  std::optional<std::vector<int64_t>> offsets_;
  bool is_offsets_ = false;  ///< whether what is read belongs to that key
};

bool skip_text(std::string_view& rest, std::string_view text) {
  if (!rest.starts_with(text)) return false;
  rest.remove_prefix(text.size());
  return true;
}

/// Five to ten digits.
bool skip_number(std::string_view& rest) {
  const size_t digits = std::min(rest.find_first_not_of("0123456789"), rest.size());
  rest.remove_prefix(digits);
  return digits >= 5 && digits <= 10;
}

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

std::map<std::string, std::vector<int64_t>> parse_sharding_info(const std::string& text,
                                                                const fs::path& file) {
  ReadBudget budget(file, text.size());
  ShardingInfoListener listener(file, budget);
  read_json(text, file, kShardingInfoKey, listener);
  return listener.take();
}

bool is_safetensors_shard(const fs::path& file) {
  const std::string name = file.filename().string();
  std::string_view rest = name;
  for (const char* before : {"shard-", "-model-", "-of-"}) {
    if (!skip_text(rest, before) || !skip_number(rest)) return false;
  }
  return rest == ".safetensors";
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
