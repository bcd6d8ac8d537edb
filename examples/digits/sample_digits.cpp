// Draws digits with the weights in a file: sample_digits CONFIG WEIGHTS OUT.png [ROWS [SEED]]
#include <torch/torch.h>

#include <cstdint>
#include <iostream>
#include <string>

#include "contact_sheet.hpp"
#include "fakescore/core/teacher_source.hpp"
#include "fakescore/models/registry.hpp"
#include "sampler.hpp"

namespace {

constexpr int64_t kDigits = 10;
constexpr int64_t kSteps = 50;

void load(torch::nn::Module& module, const std::string& path) {
  const auto teacher = fakescore::TeacherSource::path(path).open();
  auto parameters = module.named_parameters();
  const torch::NoGradGuard no_grad;
  size_t loaded = 0;
  for (size_t i = 0; i < teacher->tensors().size(); ++i) {
    torch::Tensor* parameter = parameters.find(teacher->tensors()[i].name);
    if (parameter == nullptr) continue;
    const at::Tensor weight = teacher->read(i);
    // copy_ would broadcast a weight that does not fit
    TORCH_CHECK_VALUE(parameter->sizes() == weight.sizes(), path, ": ", teacher->tensors()[i].name,
                      " has shape ", weight.sizes(), ", not ", parameter->sizes());
    parameter->copy_(weight);
    ++loaded;
  }
  TORCH_CHECK_VALUE(loaded == parameters.size(), path, " has ", loaded, " of the model's ",
                    parameters.size(), " parameters");
}

int run(int argc, char** argv) {
  if (argc < 4 || argc > 6) {
    std::cerr << "usage: sample_digits CONFIG WEIGHTS OUT.png [ROWS [SEED]]\n";
    return 2;
  }
  const int64_t rows = argc > 4 ? std::stoll(argv[4]) : 8;
  const uint64_t seed = argc > 5 ? std::stoull(argv[5]) : 0;
  const auto model = std::dynamic_pointer_cast<fakescore::DiTTransformer2DModel>(
      fakescore::build_teacher_from_config(argv[1]));
  TORCH_CHECK_VALUE(model != nullptr, argv[1], " does not describe a DiTTransformer2DModel");
  load(*model, argv[2]);
  const torch::Tensor labels = torch::arange(kDigits).repeat({rows});
  fakescore::digits::write_contact_sheet(
      argv[3], fakescore::digits::sample_digits(*model, labels, kSteps, seed));
  std::cout << argv[3] << "\n";
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
