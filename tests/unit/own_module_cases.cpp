#include <torch/torch.h>

#include <cmath>
#include <utility>

#include "fakescore/tensor/named_tensor.hpp"
#include "unit/module_case.hpp"

namespace fakescore::testing {
namespace {

namespace nn = torch::nn;
using at::Tensor;
using torch::indexing::None;
using torch::indexing::Slice;

/// A rotary embedding written as models write it: complex, strided, tied, and written in place.
struct Rotary : nn::Module {
  Rotary() {
    const Tensor inverse =
        1.0 / torch::pow(10000.0, torch::arange(0, 32, 2, torch::kDouble) / 32.0);
    const Tensor angles =
        register_buffer("angles", torch::outer(torch::arange(64, torch::kDouble), inverse));
    register_buffer("turns", torch::polar(torch::ones_like(angles), angles));
    Tensor table = torch::zeros({64, 32});
    table.index_put_({Slice(), Slice(None, None, 2)}, angles.sin().to(torch::kFloat));
    table.index({Slice(), Slice(1, None, 2)}).copy_(angles.cos());
    register_buffer("table", table);
    Tensor weight = register_parameter("weight", torch::randn({3, 3}));
    {
      const torch::NoGradGuard no_grad;
      weight.mul_(2);
    }
    register_parameter("tied", weight);
    register_buffer("transposed", weight.detach().t());
  }
};

/// Real cosines and sines of three axes, side by side as video models have them.
struct RealRotary : nn::Module {
  RealRotary() {
    std::vector<Tensor> cosines;
    std::vector<Tensor> sines;
    for (const int64_t width : {8, 12, 12}) {
      const Tensor inverse =
          torch::pow(256.0, -torch::arange(0, width, 2).to(torch::kFloat) / width);
      const Tensor angles =
          torch::einsum("i,j->ij", {torch::arange(16).to(torch::kFloat), inverse});
      cosines.push_back(angles.cos().repeat_interleave(2, 1));
      sines.push_back(angles.sin().repeat_interleave(2, 1));
    }
    register_buffer("cosines", torch::cat(cosines, 1));
    register_buffer("sines", torch::cat(sines, 1));
    const auto halves = named_buffers()["cosines"].chunk(2, 1);
    register_buffer("turned", torch::cat({-halves[1], halves[0]}, 1).to(torch::kBFloat16));
  }
};

/// The fixed positions of a grid of patches, learned from there on.
struct GridPositions : nn::Module {
  GridPositions() {
    const Tensor omega = 1.0 / torch::pow(10000, torch::arange(4, torch::kDouble) / 4.0);
    const auto grid = torch::meshgrid({torch::arange(6.0), torch::arange(5.0)}, "xy");
    std::vector<Tensor> parts;
    for (const Tensor& axis : grid) {
      const Tensor angles = axis.reshape({-1}).to(torch::kDouble).outer(omega);
      parts.push_back(torch::cat({angles.sin(), angles.cos()}, 1));
    }
    register_parameter("positions", torch::cat(parts, 1).to(torch::kFloat).unsqueeze(0));
    register_buffer("ids", torch::arange(30).expand({1, -1}));
    register_buffer("mask", torch::ones({6, 6}, torch::kBool).tril());
    register_buffer("bias", torch::full({6, 6}, -INFINITY).triu(1));
  }
};

/// A weight that is computed from its direction and its length.
struct WeightNorm : nn::Module, HasPlainMembers {
  WeightNorm() {
    Tensor made = torch::empty({6, 4, 3, 3});
    nn::init::kaiming_uniform_(made, std::sqrt(5));
    v = register_parameter("v", made);
    g = register_parameter("g", v.detach().norm(2, {1, 2, 3}, /*keepdim=*/true));
    weight = (v * (g / v.norm(2, {1, 2, 3}, true))).detach();
  }
  std::vector<NamedTensor> plain_members() const override { return {{"weight", weight}}; }
  Tensor v, g, weight;
};

/// A weight divided by its largest singular value, which a few steps at the start estimate.
struct SpectralNorm : nn::Module, HasPlainMembers {
  SpectralNorm() {
    original = register_parameter("original", torch::randn({5, 7}));
    u = register_buffer("u", nn::functional::normalize(torch::randn(5), unit()));
    v = register_buffer("v", nn::functional::normalize(torch::randn(7), unit()));
    const torch::NoGradGuard no_grad;
    for (int i = 0; i < 15; ++i) {
      u.copy_(nn::functional::normalize(original.mv(v), unit()));
      v.copy_(nn::functional::normalize(original.t().mv(u), unit()));
    }
    weight = original / torch::dot(u, original.mv(v));
  }
  static nn::functional::NormalizeFuncOptions unit() {
    return nn::functional::NormalizeFuncOptions().dim(0).eps(1e-12);
  }
  std::vector<NamedTensor> plain_members() const override { return {{"weight", weight}}; }
  Tensor original, u, v, weight;
};

/// An output head whose weight is the embedding's tensor itself.
struct TiedHead : nn::Module {
  explicit TiedHead(const Tensor& weight) {
    register_parameter("weight", weight);
    register_parameter("bias", torch::zeros(weight.size(0)));
  }
};

struct LanguageModel : nn::Module {
  LanguageModel() {
    auto embedding = register_module("embedding", nn::Embedding(11, 6));
    auto block = register_module("block", nn::Linear(6, 6));
    register_module("same_block", block);
    register_module("head", std::make_shared<TiedHead>(embedding->weight));
    auto other = register_module("other_head", nn::Linear(nn::LinearOptions(6, 11).bias(false)));
    other->weight.set_data(embedding->weight);
    // As GPT-2 does once all is made.
    const torch::NoGradGuard no_grad;
    for (auto& parameter : named_parameters()) {
      if (parameter.value().dim() == 2) parameter.value().normal_(0, 0.02);
    }
  }
};

/// Parameters that are pieces of one flat tensor: made so, and made so later.
struct FlatParameters : nn::Module {
  FlatParameters() {
    const Tensor flat = register_buffer("flat", torch::empty(5 * 4 + 4 + 8));
    const Tensor weight = register_parameter("weight", flat.narrow(0, 0, 20).view({5, 4}));
    nn::init::xavier_uniform_(weight);
    nn::init::zeros_(register_parameter("bias", flat.narrow(0, 20, 4)));
    nn::init::normal_(register_parameter("columns", flat.as_strided({4, 2}, {1, 4}, 24)));
    auto layers = register_module(
        "layers", nn::Sequential(nn::Linear(3, 4), nn::LayerNorm(nn::LayerNormOptions({4}))));
    std::vector<Tensor> pieces;
    for (const Tensor& parameter : layers->parameters()) pieces.push_back(parameter.view(-1));
    const torch::NoGradGuard no_grad;
    const Tensor joined = torch::cat(pieces);
    int64_t offset = 0;
    for (Tensor& parameter : layers->parameters()) {
      parameter.set_data(joined.narrow(0, offset, parameter.numel()).view(parameter.sizes()));
      offset += parameter.numel();
    }
    joined.mul_(3);
  }
};

/// Learns its shapes from a first input, and changes its mind about its parts.
struct LateRegistration : nn::Module {
  LateRegistration() {
    auto trunk =
        register_module("trunk", nn::Sequential(nn::Conv2d(nn::Conv2dOptions(3, 4, 3).stride(2)),
                                                nn::ReLU(), nn::Flatten()));
    register_module("head", nn::Linear(2, 2));
    register_module("gone", nn::Linear(50, 50));
    const Tensor features = trunk->forward(torch::zeros({1, 3, 9, 9}));
    replace_module("head", nn::Linear(features.size(1), 7).ptr());
    unregister_module("gone");
    finish();
  }
  void finish() {
    const Tensor weight = named_parameters()["head.weight"];
    register_parameter("scale", torch::full({weight.size(0)}, 0.5));
    register_module("late", nn::BatchNorm1d(weight.size(0)));
    register_parameter("absent", Tensor(), /*requires_grad=*/false);
    parameters_["absent"] = torch::randn({2, weight.size(1)}).set_requires_grad(true);
  }
};

/// Buffers that parameters give: a running copy, statistics, a merged low-rank update.
struct DerivedBuffers : nn::Module {
  DerivedBuffers() {
    auto linear = register_module("linear", nn::Linear(6, 5));
    const torch::NoGradGuard no_grad;
    register_module("average", std::dynamic_pointer_cast<nn::Module>(linear->clone()));
    const Tensor ema = register_buffer("ema", linear->weight.detach().clone());
    linear->weight.add_(torch::randn_like(linear->weight), 0.1);
    ema.lerp_(linear->weight, 0.25);
    register_buffer("mean", linear->weight.mean(0));
    register_buffer("variance", linear->weight.var(0));
    register_buffer("sorted", std::get<0>(linear->weight.sort(1, /*descending=*/true)));
    register_buffer("largest", std::get<1>(linear->weight.topk(2, 1)));
    const Tensor down = register_parameter("down", torch::empty({2, 6}));
    nn::init::kaiming_uniform_(down, std::sqrt(5));
    const Tensor up = register_parameter("up", torch::zeros({5, 2}));
    register_buffer("merged", linear->weight + up.mm(down) * 4);
    register_buffer("length", torch::linalg_norm(linear->weight));
    register_buffer("quantised", (linear->weight / 0.01).round().clamp(-128, 127).to(torch::kChar));
  }
};

struct OddTensors : nn::Module {
  OddTensors() {
    register_buffer("scalar", torch::full({}, 2.5));
    register_buffer("empty", torch::zeros({0, 3}));
    register_buffer("half", torch::randn({4, 3}).to(torch::kBFloat16));
    register_buffer("eight_bits", torch::randn({4, 3}).to(torch::kFloat8_e4m3fn));
    register_buffer("channels_last",
                    torch::rand({2, 3, 4, 5}).contiguous(at::MemoryFormat::ChannelsLast));
    register_buffer("expanded", torch::randn({3, 1}).expand({3, 4}));
    register_buffer("complex", torch::randn({3}, torch::kComplexFloat).conj());
    register_buffer("shuffled", torch::randperm(9));
    register_buffer("drawn", torch::multinomial(torch::ones(6), 3));
    register_buffer("flags", torch::bernoulli(torch::full({9}, 0.5)).to(torch::kBool));
    register_buffer("bytes", torch::randint(256, {9}, torch::kByte));
    register_buffer("shorts", torch::arange(-3, 3, torch::kShort));
    register_buffer("steps", torch::tensor(3, torch::kLong).add(torch::zeros({}, torch::kLong)));
    register_buffer("undefined", Tensor());
    register_buffer("like", torch::rand_like(torch::ones(5)) + torch::randint(9, {5}));
    register_buffer("dropped", torch::dropout(torch::ones(20), 0.5, true));
    register_parameter("no_elements", torch::randn({4, 0, 2}));
    register_parameter("frozen", torch::randn(4), /*requires_grad=*/false);
  }
};

class DefaultDtype {
 public:
  explicit DefaultDtype(at::ScalarType dtype) : before_(c10::get_default_dtype()) {
    c10::set_default_dtype(c10::scalarTypeToTypeMeta(dtype));
  }
  ~DefaultDtype() { c10::set_default_dtype(before_); }
  DefaultDtype(const DefaultDtype&) = delete;
  DefaultDtype& operator=(const DefaultDtype&) = delete;

 private:
  caffe2::TypeMeta before_;
};

template <class Own>
ModuleCase own(std::string name) {
  return {std::move(name), [] { return std::make_shared<Own>(); }};
}

ModuleCase by_default(std::string name, at::ScalarType dtype) {
  return {std::move(name), [dtype] {
            const DefaultDtype scope(dtype);
            auto module = std::make_shared<nn::Module>();
            module->register_module("conv", nn::Conv2d(3, 4, 3));
            module->register_module("norm", nn::BatchNorm2d(4));
            module->register_module("gru", nn::GRU(4, 5));
            module->register_buffer("thirds", torch::arange(4) / 3);
            return module;
          }};
}

std::shared_ptr<nn::Module> in_channels_last() {
  auto conv = nn::Sequential(nn::Conv2d(3, 4, 3), nn::Conv3d(2, 3, 2)).ptr();
  for (Tensor& parameter : conv->parameters()) {
    if (parameter.dim() == 4) {
      parameter.set_data(parameter.contiguous(at::MemoryFormat::ChannelsLast));
    } else if (parameter.dim() == 5) {
      parameter.set_data(parameter.contiguous(at::MemoryFormat::ChannelsLast3d));
    }
  }
  return conv;
}

/// Cut off at two standard deviations, by the inverse of the distribution, as diffusers does it.
Tensor trunc_normal(Tensor weight) {
  const torch::NoGradGuard no_grad;
  const double edge = std::erf(2 / std::sqrt(2.0));
  return weight.uniform_(-edge, edge).erfinv_().mul_(std::sqrt(2.0) * 0.02).clamp_(-0.04, 0.04);
}

std::shared_ptr<nn::Module> initialised_by_a_visitor() {
  auto module =
      nn::Sequential(nn::Linear(4, 5), nn::LayerNorm(nn::LayerNormOptions({5})), nn::Linear(5, 4))
          .ptr();
  module->apply([](nn::Module& part) {
    if (auto* linear = part.as<nn::Linear>()) {
      trunc_normal(linear->weight);
      nn::init::zeros_(linear->bias);
    }
  });
  return module;
}

template <class To>
ModuleCase linear_to(std::string name, To to) {
  return {std::move(name), [to] {
            auto linear = nn::Linear(3, 4).ptr();
            linear->to(to);
            return linear;
          }};
}

}  // namespace

std::vector<ModuleCase> own_module_cases() {
  return {
      own<Rotary>("Rotary"),
      own<RealRotary>("RealRotary"),
      own<GridPositions>("GridPositions"),
      own<WeightNorm>("WeightNorm"),
      own<SpectralNorm>("SpectralNorm"),
      own<LanguageModel>("LanguageModel"),
      own<FlatParameters>("FlatParameters"),
      own<LateRegistration>("LateRegistration"),
      own<DerivedBuffers>("DerivedBuffers"),
      own<OddTensors>("OddTensors"),
      by_default("Default_double", torch::kDouble),
      by_default("Default_half", torch::kHalf),
      by_default("Default_bfloat16", torch::kBFloat16),
      linear_to("To_bfloat16", torch::kBFloat16),
      linear_to("To_cpu", torch::Device(torch::kCPU)),
      {"ChannelsLast", in_channels_last},
      {"Visitor", initialised_by_a_visitor},
      {"Cloned", [] { return nn::Linear(3, 4)->clone(); }},
  };
}

}  // namespace fakescore::testing
