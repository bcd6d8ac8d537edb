#include "teacher/source/folder_config.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "fakescore/error.hpp"
#include "teacher/file/json_events.hpp"
#include "teacher/file/mapped_file.hpp"

namespace fakescore::detail {
namespace {

constexpr size_t kMaxConfigBytes = 10'000'000;

/// Notes what the keys of the outermost object say.
class ConfigListener : public JsonListener {
 public:
  void key(size_t depth, std::string& name) override {
    if (depth != 1) return;
    has_diffusers_ = has_diffusers_ || is_among(name, kDiffusersKeys);
    has_transformers_ = has_transformers_ || is_among(name, kTransformersKeys);
    is_weights_ = name == kWeightsKey;
    if (is_weights_) weights_.clear();
  }
  void text(size_t depth, std::string& value) override {
    if (depth == 1 && is_weights_) weights_ = std::move(value);
  }
  void other(size_t /*depth*/) override {}

  FolderConfig take() {
    // A model of diffusers may have an argument that is called as one of the others.
    if (has_diffusers_) return {WeightsLibrary::kDiffusers, ""};
    if (!has_transformers_) return {};
    return {WeightsLibrary::kTransformers, std::move(weights_)};
  }

 private:
  static constexpr std::array kDiffusersKeys{"_class_name", "_diffusers_version"};
  static constexpr std::array kTransformersKeys{"model_type", "architectures",
                                                "transformers_version"};
  static constexpr const char* kWeightsKey = "transformers_weights";

  template <size_t Count>
  static bool is_among(const std::string& name, const std::array<const char*, Count>& keys) {
    return std::find(keys.begin(), keys.end(), name) != keys.end();
  }

  bool has_diffusers_ = false;
  bool has_transformers_ = false;
  bool is_weights_ = false;  ///< whether what is read is the value of that key
  std::string weights_;
};

}  // namespace

FolderConfig read_folder_config(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "config.json";
  try {
    const auto file = MappedFile::open(path);
    if (file->size() > kMaxConfigBytes) return {};
    ConfigListener listener;
    read_json(file->text(), path, "configuration", listener);
    return listener.take();
  } catch (const TeacherError&) {
    return {};
  }
}

}  // namespace fakescore::detail
