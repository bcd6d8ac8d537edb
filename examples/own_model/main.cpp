// A class of one's own: registered in a few lines, built from its config.json, and filled from a
// checkpoint that has other names for its tensors.

#include <fakescore/fakescore.hpp>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "fakescore/teacher/save_safetensors.hpp"

namespace {

namespace fs = std::filesystem;

/// What the user has: any torch::nn::Module.
class ToyScore : public torch::nn::Module, public fakescore::NonPersistentBuffers {
 public:
  explicit ToyScore(int64_t width) {
    first = register_module("first", torch::nn::Linear(2, width));
    last = register_module("last", torch::nn::Linear(width, 2));
    frequencies = register_buffer("frequencies", torch::arange(width).to(torch::kFloat).exp2());
  }
  /// Computed, and in no checkpoint.
  std::vector<std::string> non_persistent_buffers() const override { return {"frequencies"}; }
  torch::Tensor forward(const torch::Tensor& x) { return last(torch::sin(first(x) * frequencies)); }

  torch::nn::Linear first{nullptr}, last{nullptr};
  torch::Tensor frequencies;
};

/// The few lines: "_class_name" -> a module.
fakescore::ModelRegistry registry_with_toy_score() {
  auto registry = fakescore::ModelRegistry::with_builtin_models();
  registry.add("ToyScore", [](const std::string& json) {
    return std::make_shared<ToyScore>(nlohmann::json::parse(json).at("width").get<int64_t>());
  });
  return registry;
}

/// A teacher as training left it: wrapped, so that its names have a prefix.
void make_teacher(const fs::path& folder) {
  fs::create_directories(folder);
  std::ofstream(folder / "config.json") << R"({"_class_name": "ToyScore", "width": 8})" << '\n';
  const auto ramp = [](at::IntArrayRef sizes) {
    return torch::arange(c10::multiply_integers(sizes)).to(torch::kFloat).view(sizes) / 16;
  };
  fakescore::save_safetensors(folder / "diffusion_pytorch_model.safetensors",
                              {{"module.first.weight", ramp({8, 2})},
                               {"module.first.bias", ramp({8})},
                               {"module.last.weight", ramp({2, 8})},
                               {"module.last.bias", ramp({2})}});
}

void print(const fakescore::MetaResult& result) {
  for (const auto& entry : fakescore::module_tensors(*result.module)) {
    std::cout << entry.name << ' ' << entry.tensor.sizes() << ' ' << to_string(entry.kind)
              << ", sum " << entry.tensor.sum().item<double>() << '\n';
  }
  std::cout << "replayed:";
  for (const auto& name : result.report.replayed) std::cout << ' ' << name;
  const auto score =
      std::dynamic_pointer_cast<ToyScore>(result.module)->forward(torch::ones({1, 2}));
  std::cout << "\nforward: " << score.sizes() << ", requires grad " << std::boolalpha
            << score.requires_grad() << '\n';
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: own_model NEW_FOLDER\n";
    return 2;
  }
  const fs::path folder = argv[1];
  try {
    make_teacher(folder);
    const auto registry = registry_with_toy_score();
    // One process; ../many_ranks has the communicator of a job.
    const auto alone = fakescore::make_local_communicators(1);
    print(fakescore::create_fake_score_meta(
        [&] { return fakescore::build_teacher_from_config(folder / "config.json", registry); },
        fakescore::TeacherSource::path(folder).strip_prefix("module."), *alone.front()));
    return 0;
  } catch (const fakescore::Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
