#include "output.hpp"

#include <fstream>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "fakescore/core/error.hpp"
#include "fakescore/core/module_tensors.hpp"
#include "fakescore/core/teacher_source.hpp"

namespace fakescore::launcher {
namespace {

using View = std::tuple<const void*, int64_t, std::vector<int64_t>, std::vector<int64_t>>;

View view_of(const at::Tensor& tensor) {
  return {tensor.storage().data(), tensor.storage_offset(), tensor.sizes().vec(),
          tensor.strides().vec()};
}

void write_config(const std::filesystem::path& path, const std::string& config_json) {
  std::ofstream file(path);
  file << config_json;
  file.close();
  if (!file) {
    throw_error({ErrorCode::kConfig, -1, "output", path.string(), "cannot be written",
                 "give a folder that can be written and has the space"});
  }
}

}  // namespace

void write_output(const std::filesystem::path& folder, const torch::nn::Module& module,
                  const std::string& config_json) {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  std::map<std::string, std::string> metadata{{"format", "pt"}};
  std::map<View, std::string> written;
  for (const ModuleTensor& entry : module_tensors(module)) {
    if (entry.kind == TensorKind::kNonPersistentBuffer) continue;
    const auto [first, is_new] = written.try_emplace(view_of(entry.tensor), entry.name);
    if (is_new || entry.tensor.numel() == 0) {
      tensors.emplace_back(entry.name, entry.tensor.detach().cpu());
    } else {
      metadata.emplace(entry.name, first->second);
    }
  }
  const auto weights = folder / "diffusion_pytorch_model.safetensors";
  try {
    save_safetensors(weights, tensors, metadata);
  } catch (const TeacherError& error) {
    throw_error({ErrorCode::kConfig, -1, "output", error.info().subject, error.info().message,
                 "give a folder that can be written and has the space"});
  }
  if (!config_json.empty()) write_config(folder / "config.json", config_json);
}

}  // namespace fakescore::launcher
