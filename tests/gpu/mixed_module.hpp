#pragma once

#include <torch/torch.h>

#include <memory>

namespace fakescore::testing {

/// A parameter on the GPU and a buffer in host memory.
inline std::shared_ptr<torch::nn::Module> make_mixed_module(at::Device gpu, double value) {
  auto module = std::make_shared<torch::nn::Module>();
  module->register_parameter("gpu", torch::full({1000}, value, torch::device(gpu)));
  module->register_buffer("host", torch::full({50'000}, value));
  return module;
}

}  // namespace fakescore::testing
