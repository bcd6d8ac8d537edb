#include "teacher/formats/safetensors/sharding_info.hpp"

#include <algorithm>
#include <functional>
#include <optional>
#include <string_view>
#include <utility>

#include "teacher/file/json_events.hpp"
#include "teacher/file/read_budget.hpp"
#include "teacher/file/teacher_error.hpp"

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

}  // namespace fakescore::detail
