#include "core/teacher/folder_config.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <nlohmann/json.hpp>

namespace fakescore::detail {
namespace {

using nlohmann::json;

constexpr uintmax_t kMaxConfigBytes = 10'000'000;

json parse_config(const std::filesystem::path& file) {
  std::error_code error;
  const bool is_file = std::filesystem::is_regular_file(file, error);
  if (!is_file || std::filesystem::file_size(file, error) > kMaxConfigBytes) return {};
  std::ifstream stream(file, std::ios::binary);
  return json::parse(stream, nullptr, /*allow_exceptions=*/false);
}

template <size_t Count>
bool has_any(const json& config, const std::array<const char*, Count>& keys) {
  return std::any_of(keys.begin(), keys.end(),
                     [&](const char* key) { return config.contains(key); });
}

}  // namespace

FolderConfig read_folder_config(const std::filesystem::path& folder) {
  constexpr std::array kDiffusersKeys{"_class_name", "_diffusers_version"};
  constexpr std::array kTransformersKeys{"model_type", "architectures", "transformers_version"};
  constexpr const char* kWeightsKey = "transformers_weights";
  const json config = parse_config(folder / "config.json");
  if (!config.is_object()) return {};
  // A model of diffusers may have an argument that is called as one of the others.
  if (has_any(config, kDiffusersKeys)) return {WeightsLibrary::kDiffusers, ""};
  if (!has_any(config, kTransformersKeys)) return {};
  FolderConfig found{WeightsLibrary::kTransformers, ""};
  const auto weights = config.find(kWeightsKey);
  if (weights != config.end() && weights->is_string()) {
    found.weights = weights->get<std::string>();
  }
  return found;
}

}  // namespace fakescore::detail
