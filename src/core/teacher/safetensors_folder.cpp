#include "core/teacher/safetensors_folder.hpp"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "core/teacher/teacher_error.hpp"

namespace fakescore::detail {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kIndexSuffix = ".safetensors.index.json";
constexpr const char* kFileSuffix = ".safetensors";
constexpr uintmax_t kMaxIndexBytes = 100'000'000;  // as much as the format allows a header

bool ends_with(const fs::path& path, const std::string& suffix) {
  return path.filename().string().ends_with(suffix);
}

fs::path shard_path(const json& value, const std::string& tensor, const fs::path& index) {
  if (!value.is_string()) throw_teacher_error(index, tensor, "weight_map value is not a file name");
  const fs::path name = value.get<std::string>();
  if (name.empty() || name != name.filename() || name == "." || name == "..") {
    throw_teacher_error(index, tensor,
                        "names the shard " + name.string().substr(0, 200) +
                            ", which is not a file name of the "
                            "index's own folder",
                        "an index may only name files beside it");
  }
  return index.parent_path() / name;
}

SafetensorsFiles read_index(const fs::path& index) {
  std::ifstream stream;
  if (fs::is_regular_file(index)) stream.open(index);
  if (!stream.is_open()) throw_teacher_error(index, "", "cannot be opened");
  if (const auto bytes = fs::file_size(index); bytes > kMaxIndexBytes) {
    throw_teacher_error(index, "",
                        "has " + std::to_string(bytes) + " bytes, an index at most " +
                            std::to_string(kMaxIndexBytes));
  }
  json content;
  try {
    content = json::parse(stream);
  } catch (const json::exception& error) {
    throw_teacher_error(index, "", std::string("is not JSON: ") + error.what());
  }
  if (!content.is_object() || !content.contains("weight_map") ||
      !content["weight_map"].is_object() || content["weight_map"].empty()) {
    throw_teacher_error(index, "", "has no weight_map");
  }
  SafetensorsFiles found;
  found.index = index;
  std::set<fs::path> files;
  for (const auto& [tensor, value] : content["weight_map"].items()) {
    const fs::path shard = shard_path(value, tensor, index);
    found.weight_map.emplace(tensor, shard);
    files.insert(shard);
  }
  found.files.assign(files.begin(), files.end());
  return found;
}

std::vector<fs::path> files_with_suffix(const fs::path& folder, const std::string& suffix) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file() && ends_with(entry.path(), suffix)) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

fs::path choose_in_folder(const fs::path& folder) {
  for (const char* suffix : {kFileSuffix, kIndexSuffix}) {
    for (const char* stem : {"diffusion_pytorch_model", "model"}) {
      const fs::path candidate = folder / (std::string(stem) + suffix);
      if (fs::is_regular_file(candidate)) return candidate;
    }
  }
  for (const char* suffix : {kIndexSuffix, kFileSuffix}) {
    const auto files = files_with_suffix(folder, suffix);
    if (files.size() == 1) return files.front();
    if (files.size() > 1) {
      std::string names;
      for (const fs::path& file : files) names.append(" ").append(file.filename().string());
      throw_teacher_error(folder, "", "holds several checkpoints:" + names, "name one of them");
    }
  }
  throw_teacher_error(folder, "", "holds no .safetensors file and no .safetensors.index.json",
                      "give the folder that holds the weights");
}

SafetensorsFiles find_files(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) {
    throw_teacher_error(path, "", "does not exist or cannot be reached",
                        "give a path that the root rank can read");
  }
  const fs::path file = fs::is_directory(status) ? choose_in_folder(path) : path;
  if (ends_with(file, ".json")) return read_index(file);
  return {{file}, {}, {}};
}

}  // namespace

SafetensorsFiles find_safetensors_files(const fs::path& path) {
  try {
    return find_files(path);
  } catch (const fs::filesystem_error& error) {
    throw_teacher_error(error.path1().empty() ? path : error.path1(), "",
                        "cannot be read: " + error.code().message(),
                        "give a path that the root rank can read");
  }
}

}  // namespace fakescore::detail
