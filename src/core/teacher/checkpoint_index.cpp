#include "core/teacher/checkpoint_index.hpp"

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "core/teacher/foreign_file.hpp"
#include "core/teacher/teacher_error.hpp"
#include "core/teacher/weight_names.hpp"

namespace fakescore::detail {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr uintmax_t kMaxIndexBytes = 100'000'000;  // as much as safetensors allows a header

fs::path shard_path(const json& value, const std::string& tensor, const fs::path& index) {
  if (!value.is_string()) throw_teacher_error(index, tensor, "weight_map value is not a file name");
  const fs::path name = value.get<std::string>();
  if (name.empty() || name != name.filename() || name == "." || name == "..") {
    throw_teacher_error(index, tensor,
                        "names the shard " + name.string().substr(0, 200) +
                            ", which is not a file name of the index's own folder",
                        "an index may only name files beside it");
  }
  return index.parent_path() / name;
}

json parse_index(const MappedFile& index) {
  refuse_stand_in(index);
  if (index.size() > kMaxIndexBytes) {
    throw_teacher_error(index.path(), "",
                        "has " + std::to_string(index.size()) + " bytes, an index at most " +
                            std::to_string(kMaxIndexBytes));
  }
  const auto* text = reinterpret_cast<const char*>(index.data());
  json content;
  try {
    content = json::parse(text, text + index.size());
  } catch (const json::exception& error) {
    throw_teacher_error(index.path(), "", std::string("is not JSON: ") + error.what());
  }
  if (!content.is_object() || !content.contains("weight_map") ||
      !content["weight_map"].is_object() || content["weight_map"].empty()) {
    throw_teacher_error(index.path(), "", "is no index of a checkpoint: it has no weight_map",
                        "give a checkpoint's file, its *.index.json, or the folder that holds it");
  }
  return content;
}

}  // namespace

CheckpointFiles read_checkpoint_index(const fs::path& index) {
  CheckpointFiles found;
  found.index = MappedFile::open(index);
  const json content = parse_index(*found.index);
  std::set<fs::path> files;
  for (const auto& [tensor, value] : content["weight_map"].items()) {
    const fs::path shard = shard_path(value, tensor, index);
    found.weight_map.emplace(tensor, shard);
    files.insert(shard);
  }
  found.files.assign(files.begin(), files.end());
  found.choice.taken = index.string();
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
