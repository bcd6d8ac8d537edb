#include "output.hpp"

#include <map>
#include <optional>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#include "destinations.hpp"
#include "error/utf8.hpp"
#include "fakescore/error.hpp"
#include "fakescore/module/module_tensors.hpp"
#include "fakescore/teacher/save_safetensors.hpp"
#include "fakescore/teacher/teacher_source.hpp"
#include "file/whole_file.hpp"

namespace fakescore::launcher {
namespace {

using NamedTensors = std::vector<NamedTensor>;
using View = std::tuple<const void*, int64_t, std::vector<int64_t>, std::vector<int64_t>>;

View view_of(const at::Tensor& tensor) {
  return {tensor.storage().data(), tensor.storage_offset(), tensor.sizes().vec(),
          tensor.strides().vec()};
}

[[noreturn]] void refuse_tensor(const std::string& name, const std::string& message,
                                const std::string& remedy) {
  throw_error({ErrorCode::kConfig, -1, "output", name, message, remedy});
}

/// Weights and configuration, neither of which is there before both are written.
void write_files(const std::filesystem::path& folder, const NamedTensors& tensors,
                 const std::map<std::string, std::string>& metadata,
                 const std::string& config_json) {
  std::optional<detail::WholeFile> config;
  if (!config_json.empty()) config.emplace(folder / kConfigFile).write(config_json);
  save_safetensors(folder / kWeightsFile, tensors, metadata);
  if (config) config->commit();
}

}  // namespace

void check_can_be_output(const torch::nn::Module& module) {
  for (const NamedTensor& entry : module_tensors(module)) {
    if (entry.kind == TensorKind::kNonPersistentBuffer) continue;
    const at::ScalarType dtype = entry.tensor.scalar_type();
    if (!detail::is_valid_utf8(entry.name)) {
      refuse_tensor(entry.name, "the tensor's name is not UTF-8, which safetensors cannot hold",
                    "rename it with --map, or leave --output out");
    }
    // Floating-point tensors may still be cast.
    if (at::isComplexType(dtype) && dtype != at::kComplexFloat) {
      refuse_tensor(entry.name, std::string("safetensors has no dtype for ") + c10::toString(dtype),
                    "leave --output out");
    }
  }
}

void write_output(const std::filesystem::path& folder, const torch::nn::Module& module,
                  const std::string& config_json) {
  NamedTensors tensors;
  std::map<std::string, std::string> metadata{{"format", "pt"}};
  std::map<View, std::string> written;
  for (const NamedTensor& entry : module_tensors(module)) {
    if (entry.kind == TensorKind::kNonPersistentBuffer) continue;
    const auto [first, is_new] = written.try_emplace(view_of(entry.tensor), entry.name);
    if (is_new || entry.tensor.numel() == 0) {
      tensors.push_back({entry.name, entry.tensor.detach().cpu()});
    } else {
      metadata.emplace(entry.name, first->second);
    }
  }
  try {
    write_files(folder, tensors, metadata, config_json);
  } catch (const TeacherError& error) {
    ErrorInfo info = error.info();
    info.code = ErrorCode::kConfig;
    info.phase = "output";
    throw_error(std::move(info));
  } catch (const std::system_error& error) {
    throw_error({ErrorCode::kConfig, -1, "output", (folder / kConfigFile).string(),
                 std::string("cannot be written: ") + error.what(),
                 "check the folder, its permissions and the free space"});
  }
}

}  // namespace fakescore::launcher
