#include "teacher/source/checkpoint_index.hpp"

#include <string>
#include <utility>
#include <vector>

#include "error/join.hpp"
#include "teacher/file/file_numbers.hpp"
#include "teacher/file/file_text.hpp"
#include "teacher/file/foreign_file.hpp"
#include "teacher/file/json_events.hpp"
#include "teacher/file/read_budget.hpp"
#include "teacher/file/teacher_error.hpp"
#include "teacher/source/weight_names.hpp"

namespace fakescore::detail {
namespace {

namespace fs = std::filesystem;

constexpr uintmax_t kMaxIndexBytes = 100'000'000;  // as much as safetensors allows a header
constexpr const char* kWeightMap = "weight_map";
constexpr uint64_t kIndexNameMemory = 160;  // of a tensor, beside the name itself

[[noreturn]] void refuse_as_no_index(const fs::path& path) {
  throw_teacher_error(path, "", "is no index of a checkpoint: it has no weight_map",
                      "give a checkpoint's file, its *.index.json, or the folder that holds it");
}

/// Collects the names of the tensors, and of the files that they are said to be in.
class IndexListener : public JsonListener {
 public:
  IndexListener(const fs::path& index, ReadBudget& budget) : index_(index), budget_(budget) {}

  void begin_object(size_t depth) override {
    if (depth == 1 && in_weight_map_) {
      if (!weight_map_.empty()) throw_teacher_error(index_, "", "has two weight_maps");
    } else {
      other(depth);
    }
  }
  void key(size_t depth, std::string& name) override {
    if (depth == 1) in_weight_map_ = name == kWeightMap;
    if (depth == 2 && in_weight_map_) tensor_ = std::move(name);
  }
  void text(size_t depth, std::string& value) override {
    if (depth != 2 || !in_weight_map_) return other(depth);
    if (!is_file_name(value)) {
      throw_teacher_error(index_, tensor_,
                          "names the shard " + shown(value) +
                              ", which is not a file name of the index's own folder",
                          "an index may only name files beside it");
    }
    add(value);
  }
  void other(size_t depth) override {
    if (depth == 1 && in_weight_map_) refuse_as_no_index(index_);
    if (depth == 2 && in_weight_map_) {
      throw_teacher_error(index_, tensor_, "weight_map value is not a file name");
    }
  }

  CheckpointFiles take() {
    const std::vector<size_t> places = shards_.places();
    for (auto& [tensor, shard] : weight_map_) shard = places[shard];
    CheckpointFiles found;
    found.files = shards_.paths(index_.parent_path());
    found.weight_map = std::move(weight_map_);
    return found;
  }

 private:
  void add(const std::string& shard) {
    budget_.charge_memory(kIndexNameMemory + tensor_.size(),
                          "names more tensors than it has room for");
    if (!weight_map_.emplace(tensor_, shards_.number(shard, budget_)).second) {
      throw_teacher_error(index_, tensor_, "is in the index twice");
    }
  }

  const fs::path& index_;
  ReadBudget& budget_;
  std::map<std::string, size_t> weight_map_;
  FileNumbers shards_;
  std::string tensor_;
  bool in_weight_map_ = false;
};

}  // namespace

CheckpointFiles read_checkpoint_index(const fs::path& path) {
  const auto index = MappedFile::open(path);
  refuse_stand_in(*index);
  if (index->size() > kMaxIndexBytes) {
    throw_teacher_error(path, "",
                        "has " + std::to_string(index->size()) +
                            " bytes, but an index has at most " + std::to_string(kMaxIndexBytes));
  }
  ReadBudget budget(path, index->size());
  IndexListener listener(path, budget);
  read_json(index->text(), path, "index", listener);
  CheckpointFiles found = listener.take();
  if (found.files.empty()) refuse_as_no_index(path);
  found.index = index;
  found.choice.taken = path.string();
  return found;
}

void check_shards_are_there(const CheckpointFiles& found) {
  std::vector<std::string> missing;
  for (const fs::path& file : found.files) {
    std::error_code error;
    if (!fs::exists(file, error) || error) missing.push_back(file.filename().string());
  }
  if (missing.empty()) return;
  std::string message = "names " + std::to_string(found.files.size()) + " files, of which " +
                        std::to_string(missing.size()) +
                        " cannot be reached: " + join_some(missing);
  std::string remedy = "fetch them";
  if (!found.choice.passed_over.empty()) {
    message += "; beside it: " + join_some(found.choice.passed_over);
    remedy +=
        ", or give the path of what is meant: " + teacher_option(found.choice.passed_over.front());
  }
  throw_teacher_error(found.index->path(), "", message, remedy);
}

}  // namespace fakescore::detail
