#pragma once

#include <torch/nn/module.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fakescore/export.hpp"
#include "fakescore/teacher/teacher_source.hpp"

namespace fakescore {

/// Makes a module from the text of a diffusers config.json.
using ModelFactory = std::function<std::shared_ptr<torch::nn::Module>(const std::string& json)>;

/// Maps diffusers' "_class_name" to a factory. A value: copy it, add to it, pass it on.
class FAKESCORE_API ModelRegistry {
 public:
  /// Holds the library's own models: DiTTransformer2DModel, also under the name
  /// Transformer2DModel of older configurations (facebook/DiT-XL-2-256).
  static ModelRegistry with_builtin_models();
  /// Replaces the factory of a name that is registered already.
  void add(const std::string& class_name, ModelFactory factory);
  bool contains(const std::string& class_name) const;
  std::vector<std::string> class_names() const;
  /// Throws ConfigError naming the class and the registered ones if it is unknown, or naming the
  /// key if the configuration is malformed.
  std::shared_ptr<torch::nn::Module> build(const std::string& config_json) const;

 private:
  std::vector<std::pair<std::string, ModelFactory>> factories_;
};

/// "_class_name" of a configuration. Throws ConfigError if there is none.
FAKESCORE_API std::string model_class_name(const std::string& config_json);

/// Reads a config.json. Throws ConfigError naming the file.
FAKESCORE_API std::string read_model_config(const std::filesystem::path& path);

/// The module that a diffusers config.json describes, in training mode, with diffusers' key names.
FAKESCORE_API std::shared_ptr<torch::nn::Module> build_teacher_from_config(
    const std::filesystem::path& config_json,
    const ModelRegistry& registry = ModelRegistry::with_builtin_models());

/// A module with exactly these names, shapes and dtypes, nested by the dots of the names. It can be
/// filled, checked and saved if the class is not registered, but has no forward. Entries of
/// floating or complex dtype are parameters, the others buffers; values are uninitialised.
/// Throws TeacherError naming a tensor whose name cannot be one in a module tree: an empty part,
/// a name twice, or a name that is also the prefix of another; and where most floating-point
/// tensors have no elements, as in a save of one rank's share (ZeRO-3).
FAKESCORE_API std::shared_ptr<torch::nn::Module> build_checkpoint_module(
    const std::vector<TeacherTensor>& tensors);

}  // namespace fakescore
