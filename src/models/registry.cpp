#include "fakescore/models/registry.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>

#include "fakescore/error.hpp"
#include "fakescore/models/dit.hpp"
#include "models/json_object.hpp"

namespace fakescore {
namespace {

constexpr std::uintmax_t kLargestConfig = std::uintmax_t{16} << 20;

std::shared_ptr<torch::nn::Module> make_dit(const std::string& json) {
  return std::make_shared<DiTTransformer2DModel>(DiTConfig::from_json(json));
}

/// Transformer2DModel was several models in one; its norm_type tells which.
std::shared_ptr<torch::nn::Module> make_legacy_dit(const std::string& json) {
  if (!detail::JsonObject(json).has("norm_type")) {
    detail::throw_config_error(
        "norm_type", "is missing",
        "a Transformer2DModel is built as DiTTransformer2DModel only if this "
        "key is \"ada_norm_zero\"");
  }
  return make_dit(json);
}

}  // namespace

ModelRegistry ModelRegistry::with_builtin_models() {
  ModelRegistry registry;
  registry.add("DiTTransformer2DModel", make_dit);
  registry.add("Transformer2DModel", make_legacy_dit);
  return registry;
}

void ModelRegistry::add(const std::string& class_name, ModelFactory factory) {
  for (auto& [name, existing] : factories_) {
    if (name != class_name) continue;
    existing = std::move(factory);
    return;
  }
  factories_.emplace_back(class_name, std::move(factory));
}

bool ModelRegistry::contains(const std::string& class_name) const {
  return std::any_of(factories_.begin(), factories_.end(),
                     [&](const auto& entry) { return entry.first == class_name; });
}

std::vector<std::string> ModelRegistry::class_names() const {
  std::vector<std::string> names;
  names.reserve(factories_.size());
  for (const auto& [name, factory] : factories_) names.push_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

std::shared_ptr<torch::nn::Module> ModelRegistry::build(const std::string& config_json) const {
  const std::string class_name = model_class_name(config_json);
  for (const auto& [name, factory] : factories_) {
    if (name != class_name) continue;
    std::shared_ptr<torch::nn::Module> module = factory ? factory(config_json) : nullptr;
    if (module == nullptr) {
      detail::throw_config_error(class_name, "the registered factory returned no module");
    }
    return module;
  }
  std::string known;
  for (const std::string& name : class_names()) known += (known.empty() ? "" : ", ") + name;
  detail::throw_config_error("_class_name", "\"" + class_name + "\" is not registered",
                             "registered: " + known + "; add it with ModelRegistry::add");
}

std::string model_class_name(const std::string& config_json) {
  const detail::JsonObject json(config_json);
  const std::string name = json.has("_class_name") ? json.string("_class_name", "") : "";
  if (name.empty()) {
    detail::throw_config_error("_class_name", "is missing", "is this a diffusers config.json?");
  }
  return name;
}

std::string read_model_config(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    detail::throw_config_error(path.string(), "is not a file", "give the path of a config.json");
  }
  if (const auto size = std::filesystem::file_size(path, error); error || size > kLargestConfig) {
    detail::throw_config_error(path.string(), "is too large for a config.json");
  }
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file) detail::throw_config_error(path.string(), "cannot be read");
  return text;
}

std::shared_ptr<torch::nn::Module> build_teacher_from_config(
    const std::filesystem::path& config_json, const ModelRegistry& registry) {
  const std::string text = read_model_config(config_json);
  try {
    std::shared_ptr<torch::nn::Module> module = registry.build(text);
    module->train();
    return module;
  } catch (const ConfigError& error) {
    ErrorInfo info = error.info();
    info.message += " in " + config_json.string();
    throw_error(std::move(info));
  }
}

}  // namespace fakescore
