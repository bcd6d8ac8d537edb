#include "teacher_module.hpp"

#include <cstring>
#include <utility>
#include <vector>

#include "fakescore/module/module_tensors.hpp"
#include "fakescore/module/non_persistent.hpp"

namespace fakescore::benchmark {
namespace {

constexpr int64_t kRotaryLength = 1024;
constexpr int64_t kHeadWidth = 128;
constexpr double kRotaryBase = 10000;
const std::string kNoiseSchedule = "noise_schedule";
const std::string kRotary = "rope";

std::pair<at::Tensor, at::Tensor> rotary_tables() {
  const auto wide = torch::TensorOptions(torch::kDouble);
  const auto frequencies =
      torch::pow(kRotaryBase, -torch::arange(0, kHeadWidth, 2, wide) / kHeadWidth);
  const auto angles =
      torch::outer(torch::arange(kRotaryLength, wide), frequencies).repeat_interleave(2, 1);
  return {angles.cos().to(torch::kFloat), angles.sin().to(torch::kFloat)};
}

class RotaryTables : public torch::nn::Module, public NonPersistentBuffers {
 public:
  RotaryTables() {
    const auto [cosines, sines] = rotary_tables();
    register_buffer("freqs_cos", cosines);
    register_buffer("freqs_sin", sines);
  }
  std::vector<std::string> non_persistent_buffers() const override {
    return {"freqs_cos", "freqs_sin"};
  }
};

/// "a.b.c" as "a.b" and "c"; "c" as "" and "c".
std::pair<std::string, std::string> split_name(const std::string& name) {
  const size_t dot = name.rfind('.');
  if (dot == std::string::npos) return {"", name};
  return {name.substr(0, dot), name.substr(dot + 1)};
}

bool is_floating(const TeacherTensor& tensor) { return c10::isFloatingType(tensor.dtype); }

/// A module of torch::nn that has exactly these tensors; null where there is none.
std::shared_ptr<torch::nn::Module> known_layer(const Structure::Leaves& leaves) {
  const auto found = leaves.find("weight");
  if (found == leaves.end()) return nullptr;
  const std::vector<int64_t>& sizes = found->second.sizes;
  const bool has_bias = leaves.count("bias") == 1;
  if (leaves.size() != (has_bias ? 2U : 1U)) return nullptr;
  std::shared_ptr<torch::nn::Module> layer;
  if (sizes.size() == 2) {
    const auto options = torch::nn::LinearOptions(sizes[1], sizes[0]).bias(has_bias);
    layer = torch::nn::Linear(options).ptr();
  } else if (sizes.size() == 5) {
    const torch::ExpandingArray<3> kernel({sizes[2], sizes[3], sizes[4]});
    auto options = torch::nn::Conv3dOptions(sizes[1], sizes[0], kernel);
    layer = torch::nn::Conv3d(options.stride(kernel).bias(has_bias)).ptr();
  } else if (sizes.size() == 1 && has_bias) {
    layer = torch::nn::LayerNorm(torch::nn::LayerNormOptions(sizes)).ptr();
  } else {
    return nullptr;
  }
  layer->to(found->second.dtype);
  return layer;
}

class TreeBuilder {
 public:
  TreeBuilder() { modules_[""] = std::make_shared<torch::nn::Module>(); }

  std::shared_ptr<torch::nn::Module> root() const { return modules_.at(""); }

  void add(const std::string& path, const Structure::Leaves& leaves) {
    if (const auto layer = known_layer(leaves)) {
      attach(path, layer);
      return;
    }
    torch::nn::Module& module = at(path);
    for (const auto& [name, tensor] : leaves) {
      const auto value = torch::zeros(tensor.sizes, tensor.dtype);
      if (is_floating(tensor) && name != kNoiseSchedule) {
        module.register_parameter(name, value);
      } else {
        module.register_buffer(name, value);
      }
    }
  }

  void tie(const std::string& alias, const std::string& owner) {
    const auto [owner_path, owner_name] = split_name(owner);
    const auto [path, name] = split_name(alias);
    at(path).register_parameter(name, at(owner_path).named_parameters(false)[owner_name]);
  }

  void attach(const std::string& path, const std::shared_ptr<torch::nn::Module>& module) {
    const auto [parent, name] = split_name(path);
    at(parent).register_module(name, module);
    modules_[path] = module;
  }

 private:
  /// The module of a path, which is made with its parents where there is none.
  torch::nn::Module& at(const std::string& path) {
    if (const auto found = modules_.find(path); found != modules_.end()) return *found->second;
    attach(path, std::make_shared<torch::nn::Module>());
    return *modules_[path];
  }

  std::map<std::string, std::shared_ptr<torch::nn::Module>> modules_;
};

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.dtype() == b.dtype() && a.sizes() == b.sizes() && !a.is_meta() &&
         std::memcmp(a.contiguous().data_ptr(), b.contiguous().data_ptr(), a.nbytes()) == 0;
}

using NamedTensors = std::map<std::string, at::Tensor>;

NamedTensors named_tensors(const torch::nn::Module& module) {
  NamedTensors tensors;
  for (const NamedTensor& entry : module_tensors(module)) {
    tensors[entry.name] = entry.tensor.detach();
  }
  return tensors;
}

std::string first_difference(const NamedTensors& loaded, const std::filesystem::path& path) {
  const auto teacher = TeacherSource::path(path).open();
  for (size_t i = 0; i < teacher->tensors().size(); ++i) {
    const std::string& name = teacher->tensors()[i].name;
    const auto found = loaded.find(name);
    if (found == loaded.end() || !same_bits(found->second, teacher->read(i))) return name;
  }
  return "";
}

}  // namespace

Structure read_structure(const std::filesystem::path& teacher) {
  const auto opened = TeacherSource::path(teacher).open();
  Structure structure;
  structure.ties = opened->metadata();
  for (const TeacherTensor& tensor : opened->tensors()) {
    const auto [path, name] = split_name(tensor.name);
    structure.submodules[path][name] = tensor;
  }
  return structure;
}

std::shared_ptr<torch::nn::Module> build_teacher_module(const Structure& structure) {
  TreeBuilder tree;
  for (const auto& [path, leaves] : structure.submodules) tree.add(path, leaves);
  for (const auto& [alias, owner] : structure.ties) tree.tie(alias, owner);
  tree.attach(kRotary, std::make_shared<RotaryTables>());
  return tree.root();
}

Comparison compare_with_teacher(const torch::nn::Module& module, const Structure& structure,
                                const std::filesystem::path& teacher) {
  const NamedTensors loaded = named_tensors(module);
  Comparison comparison;
  comparison.first_difference = first_difference(loaded, teacher);
  const auto [cosines, sines] = rotary_tables();
  comparison.buffers_right = same_bits(loaded.at(kRotary + ".freqs_cos"), cosines) &&
                             same_bits(loaded.at(kRotary + ".freqs_sin"), sines);
  comparison.ties_right = !structure.ties.empty();
  for (const auto& [alias, owner] : structure.ties) {
    comparison.ties_right &= loaded.at(alias).is_alias_of(loaded.at(owner));
  }
  return comparison;
}

}  // namespace fakescore::benchmark
