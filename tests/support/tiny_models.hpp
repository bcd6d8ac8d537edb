#pragma once

#include <torch/torch.h>

#include <string>
#include <vector>

#include "fakescore/module/non_persistent.hpp"

namespace fakescore::testing {

/// Everything that is awkward to move, in one small module: ties, views of one storage, mixed
/// dtypes, strides, scalars, empty tensors, persistent and non-persistent buffers, and a plain
/// member that nobody registered.
class AwkwardModule : public torch::nn::Module, public NonPersistentBuffers {
 public:
  AwkwardModule() {
    weight = register_parameter("weight", torch::randn({33, 17}));
    register_parameter("tied", weight);
    half = register_parameter("half", torch::randn({7, 5}).to(torch::kBFloat16));
    auto image = torch::randn({4, 3, 5, 5});
    channels_last =
        register_parameter("channels_last", image.contiguous(torch::MemoryFormat::ChannelsLast));
    big = register_parameter("big", torch::randn({300, 1000}));
    scale = register_parameter("scale", torch::tensor(1.5, torch::kDouble).clone());
    empty = register_parameter("empty", torch::empty({0, 4}));
    flat = register_buffer("flat", torch::randn({24}));
    register_buffer("rows", flat.view({4, 6}));
    register_buffer("column", flat.view({4, 6}).select(1, 2));
    steps = register_buffer("steps", torch::arange(10));
    mask = register_buffer("mask", torch::arange(9).remainder(2).to(torch::kBool));
    angles = register_buffer("angles", torch::arange(64).to(torch::kFloat) * 0.25);
    hidden = torch::arange(12).to(torch::kFloat).sin();
  }
  std::vector<std::string> non_persistent_buffers() const override { return {"angles"}; }

  torch::Tensor weight, half, channels_last, big, scale, empty, flat, steps, mask, angles, hidden;
};

/// Two linear layers and a buffer.
class PlainModule : public torch::nn::Cloneable<PlainModule> {
 public:
  explicit PlainModule(int64_t width = 8) : width_(width) { reset(); }
  void reset() override {
    first = register_module("first", torch::nn::Linear(width_, width_));
    second = register_module("second", torch::nn::Linear(width_, width_));
    counter = register_buffer("counter", torch::zeros({1}, torch::kLong));
  }
  torch::Tensor forward(const torch::Tensor& x) { return second(torch::relu(first(x))); }

  torch::nn::Linear first{nullptr}, second{nullptr};
  torch::Tensor counter;

 private:
  int64_t width_;
};

}  // namespace fakescore::testing
