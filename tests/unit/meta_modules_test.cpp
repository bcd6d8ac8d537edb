#include <gtest/gtest.h>
#include <torch/torch.h>

#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "unit/meta_compare.hpp"

namespace fakescore::testing {
namespace {

namespace nn = torch::nn;
namespace init = torch::nn::init;
using at::Tensor;
using ModulePtr = std::shared_ptr<nn::Module>;

struct ModuleCase {
  std::string name;
  std::function<ModulePtr()> build;
};

/// A rotary embedding written as models write it: complex, strided, tied, and written in place.
struct Rotary : nn::Module {
  Rotary() {
    const Tensor inverse =
        1.0 / torch::pow(10000.0, torch::arange(0, 32, 2, torch::kDouble) / 32.0);
    const Tensor angles =
        register_buffer("angles", torch::outer(torch::arange(64, torch::kDouble), inverse));
    register_buffer("turns", torch::polar(torch::ones_like(angles), angles));
    using torch::indexing::None;
    using torch::indexing::Slice;
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

struct OddTensors : nn::Module {
  OddTensors() {
    register_buffer("scalar", torch::full({}, 2.5));
    register_buffer("empty", torch::zeros({0, 3}));
    register_buffer("half", torch::randn({4, 3}).to(torch::kBFloat16));
    register_buffer("channels_last",
                    torch::rand({2, 3, 4, 5}).contiguous(at::MemoryFormat::ChannelsLast));
    register_buffer("expanded", torch::randn({3, 1}).expand({3, 4}));
    register_buffer("complex", torch::randn({3}, torch::kComplexFloat).conj());
    register_buffer("shuffled", torch::randperm(9));
    register_buffer("drawn", torch::multinomial(torch::ones(6), 3));
    register_buffer("like", torch::rand_like(torch::ones(5)) + torch::randint(9, {5}));
    register_buffer("dropped", torch::dropout(torch::ones(20), 0.5, true));
  }
};

/// A module around one tensor that `fill` initialises, with draws before and after it.
std::function<ModulePtr()> filled(const std::function<Tensor()>& fill) {
  return [fill] {
    auto module = std::make_shared<nn::Module>();
    module->register_parameter("before", torch::randn(5));
    module->register_parameter("filled", fill());
    module->register_parameter("after", torch::randn(7));
    return module;
  };
}

std::vector<ModuleCase> layer_cases() {
  return {
      {"Linear", [] { return nn::Linear(5, 7).ptr(); }},
      {"Bilinear", [] { return nn::Bilinear(3, 4, 5).ptr(); }},
      {"Conv1d", [] { return nn::Conv1d(4, 6, 3).ptr(); }},
      {"Conv2d", [] { return nn::Conv2d(nn::Conv2dOptions(4, 6, 3).groups(2)).ptr(); }},
      {"Conv3d", [] { return nn::Conv3d(4, 6, 3).ptr(); }},
      {"ConvTranspose1d", [] { return nn::ConvTranspose1d(4, 6, 3).ptr(); }},
      {"ConvTranspose2d", [] { return nn::ConvTranspose2d(4, 6, 3).ptr(); }},
      {"ConvTranspose3d", [] { return nn::ConvTranspose3d(4, 6, 3).ptr(); }},
      {"BatchNorm1d", [] { return nn::BatchNorm1d(5).ptr(); }},
      {"BatchNorm2d", [] { return nn::BatchNorm2d(5).ptr(); }},
      {"BatchNorm3d", [] { return nn::BatchNorm3d(5).ptr(); }},
      {"InstanceNorm1d",
       [] {
         return nn::InstanceNorm1d(
                    nn::InstanceNorm1dOptions(4).affine(true).track_running_stats(true))
             .ptr();
       }},
      {"InstanceNorm2d",
       [] { return nn::InstanceNorm2d(nn::InstanceNorm2dOptions(4).affine(true)).ptr(); }},
      {"InstanceNorm3d",
       [] { return nn::InstanceNorm3d(nn::InstanceNorm3dOptions(4).affine(true)).ptr(); }},
      {"LayerNorm",
       [] {
         return nn::LayerNorm(nn::LayerNormOptions({4, 5})).ptr();
       }},
      {"GroupNorm", [] { return nn::GroupNorm(2, 8).ptr(); }},
      {"PReLU", [] { return nn::PReLU(nn::PReLUOptions().num_parameters(3)).ptr(); }},
      {"Embedding", [] { return nn::Embedding(nn::EmbeddingOptions(9, 4).padding_idx(1)).ptr(); }},
      {"EmbeddingBag", [] { return nn::EmbeddingBag(9, 4).ptr(); }},
      {"EmbeddingFromPretrained",
       [] {
         return nn::Embedding::from_pretrained(torch::rand({4, 3})).ptr();
       }},
  };
}

std::vector<ModuleCase> network_cases() {
  return {
      {"RNN", [] { return nn::RNN(4, 5).ptr(); }},
      {"LSTM",
       [] {
         return nn::LSTM(nn::LSTMOptions(4, 5).num_layers(2).bidirectional(true).proj_size(3))
             .ptr();
       }},
      {"GRU", [] { return nn::GRU(4, 5).ptr(); }},
      {"RNNCell", [] { return nn::RNNCell(4, 5).ptr(); }},
      {"LSTMCell", [] { return nn::LSTMCell(4, 5).ptr(); }},
      {"GRUCell", [] { return nn::GRUCell(4, 5).ptr(); }},
      {"MultiheadAttention",
       [] {
         return nn::MultiheadAttention(nn::MultiheadAttentionOptions(8, 2).add_bias_kv(true)).ptr();
       }},
      {"MultiheadAttentionKdim",
       [] {
         return nn::MultiheadAttention(nn::MultiheadAttentionOptions(8, 2).kdim(4).vdim(6)).ptr();
       }},
      {"TransformerEncoderLayer", [] { return nn::TransformerEncoderLayer(8, 2).ptr(); }},
      {"TransformerDecoderLayer", [] { return nn::TransformerDecoderLayer(8, 2).ptr(); }},
      {"TransformerEncoder",
       [] {
         return nn::TransformerEncoder(
                    nn::TransformerEncoderOptions(nn::TransformerEncoderLayerOptions(8, 2), 2))
             .ptr();
       }},
      {"TransformerDecoder",
       [] {
         return nn::TransformerDecoder(
                    nn::TransformerDecoderOptions(nn::TransformerDecoderLayerOptions(8, 2), 2))
             .ptr();
       }},
      {"Transformer",
       [] {
         return nn::Transformer(nn::TransformerOptions(8, 2, 1, 1).dim_feedforward(16)).ptr();
       }},
      {"AdaptiveLogSoftmax",
       [] {
         return nn::AdaptiveLogSoftmaxWithLoss(
                    nn::AdaptiveLogSoftmaxWithLossOptions(16, 20, {5, 10}))
             .ptr();
       }},
      {"Sequential",
       [] {
         return nn::Sequential(nn::Linear(3, 4), nn::ReLU(), nn::BatchNorm1d(4), nn::Dropout())
             .ptr();
       }},
      {"Cloned", [] { return nn::Linear(3, 4)->clone(); }},
      {"ToBFloat16",
       [] {
         auto linear = nn::Linear(3, 4).ptr();
         linear->to(torch::kBFloat16);
         return linear;
       }},
      {"ToCpu",
       [] {
         auto linear = nn::Linear(3, 4).ptr();
         linear->to(torch::Device(torch::kCPU));
         return linear;
       }},
  };
}

std::vector<ModuleCase> container_cases() {
  const auto weights = [] { return torch::rand(3); };
  return {
      {"CrossEntropyLoss",
       [=] { return nn::CrossEntropyLoss(nn::CrossEntropyLossOptions().weight(weights())).ptr(); }},
      {"NLLLoss", [=] { return nn::NLLLoss(nn::NLLLossOptions().weight(weights())).ptr(); }},
      {"BCELoss", [=] { return nn::BCELoss(nn::BCELossOptions().weight(weights())).ptr(); }},
      {"BCEWithLogitsLoss",
       [=] {
         return nn::BCEWithLogitsLoss(nn::BCEWithLogitsLossOptions().pos_weight(weights())).ptr();
       }},
      {"MultiLabelSoftMarginLoss",
       [=] {
         return nn::MultiLabelSoftMarginLoss(
                    nn::MultiLabelSoftMarginLossOptions().weight(weights()))
             .ptr();
       }},
      {"MultiMarginLoss",
       [=] { return nn::MultiMarginLoss(nn::MultiMarginLossOptions().weight(weights())).ptr(); }},
      {"ParameterList", [] { return nn::ParameterList(torch::randn(3), torch::zeros(2)).ptr(); }},
      {"ParameterDict",
       [] {
         torch::OrderedDict<std::string, Tensor> items;
         items.insert("a", torch::randn(3));
         return nn::ParameterDict(items).ptr();
       }},
      {"Rotary", [] { return std::make_shared<Rotary>(); }},
      {"OddTensors", [] { return std::make_shared<OddTensors>(); }},
  };
}

std::vector<ModuleCase> init_cases() {
  const auto wide = [](auto fill) {
    return filled([fill] { return fill(torch::empty({8, 5, 3})); });
  };
  const auto flat = [](auto fill) { return filled([fill] { return fill(torch::empty({6, 5})); }); };
  return {
      {"kaiming_uniform", wide([](Tensor w) { return init::kaiming_uniform_(w); })},
      {"kaiming_normal", wide([](Tensor w) { return init::kaiming_normal_(w); })},
      {"xavier_uniform", wide([](Tensor w) { return init::xavier_uniform_(w); })},
      {"xavier_normal", wide([](Tensor w) { return init::xavier_normal_(w); })},
      {"orthogonal", wide([](Tensor w) { return init::orthogonal_(w); })},
      {"dirac", wide([](Tensor w) { return init::dirac_(w); })},
      {"sparse", flat([](Tensor w) { return init::sparse_(w, 0.3); })},
      {"eye", flat([](Tensor w) { return init::eye_(w); })},
      {"constant", flat([](Tensor w) { return init::constant_(w, 2); })},
      {"ones", flat([](Tensor w) { return init::ones_(w); })},
      {"zeros", flat([](Tensor w) { return init::zeros_(w); })},
      {"normal", flat([](Tensor w) { return init::normal_(w, 1, 2); })},
      {"uniform", flat([](Tensor w) { return init::uniform_(w, -1, 3); })},
      {"normal_on_a_transposed", flat([](Tensor w) {
         w = w.t();
         return init::normal_(w);
       })},
      {"normal_twice", flat([](Tensor w) { return init::uniform_(init::normal_(w)); })},
  };
}

using Case = std::tuple<ModuleCase, RandomMode>;

class MetaModule : public ::testing::TestWithParam<Case> {};

TEST_P(MetaModule, ReplaysEachTensorAloneAsEager) {
  const auto& [module_case, mode] = GetParam();
  const ModulePtr eager = build_eagerly(module_case.build, mode);
  const auto [module, tape] = build_on_meta(module_case.build, mode);

  const NamedTensors want = named_tensors(*eager);
  const NamedTensors metas = named_tensors(*module);
  ASSERT_EQ(metas.size(), want.size());
  ASSERT_FALSE(metas.empty());
  for (size_t i = metas.size(); i-- > 0;) {
    SCOPED_TRACE(metas[i].first);
    const Tensor& meta = metas[i].second;
    if (!meta.is_meta()) {
      // A tied tensor: its other name has been made real.
      EXPECT_TRUE(identical(meta, want[i].second));
      continue;
    }
    const Tensor real = tape->replay({meta})[0];
    EXPECT_TRUE(identical(real, want[i].second));
    const bool leaf = meta.is_leaf();
    materialize_into(meta, real);
    EXPECT_EQ(meta.is_leaf(), leaf);
  }
  const NamedTensors made = named_tensors(*module);
  for (size_t i = 0; i < made.size(); ++i) {
    SCOPED_TRACE(made[i].first);
    EXPECT_TRUE(identical(made[i].second, want[i].second));
  }
}

TEST_P(MetaModule, ReplaysAllTensorsTogetherAsEager) {
  const auto& [module_case, mode] = GetParam();
  for (const uint64_t seed : {0ull, 1ull, 0xffffffffffull}) {
    const ModulePtr eager = build_eagerly(module_case.build, mode, seed);
    const auto [module, tape] = build_on_meta(module_case.build, mode, seed);
    std::vector<Tensor> metas;
    for (const auto& [name, tensor] : named_tensors(*module)) {
      EXPECT_TRUE(tensor.is_meta()) << name;
      metas.push_back(tensor);
    }
    const std::vector<Tensor> reals = tape->replay(metas);
    const NamedTensors want = named_tensors(*eager);
    ASSERT_EQ(reals.size(), want.size());
    for (size_t i = 0; i < reals.size(); ++i) {
      EXPECT_TRUE(identical(reals[i], want[i].second)) << want[i].first;
    }
  }
}

std::string case_name(const ::testing::TestParamInfo<Case>& info) {
  return std::get<0>(info.param).name + "_" + mode_name(std::get<1>(info.param));
}

const auto kBothModes = ::testing::Values(RandomMode::kPerOp, RandomMode::kSequential);

INSTANTIATE_TEST_SUITE_P(Layers, MetaModule,
                         ::testing::Combine(::testing::ValuesIn(layer_cases()), kBothModes),
                         case_name);
INSTANTIATE_TEST_SUITE_P(Networks, MetaModule,
                         ::testing::Combine(::testing::ValuesIn(network_cases()), kBothModes),
                         case_name);
INSTANTIATE_TEST_SUITE_P(Containers, MetaModule,
                         ::testing::Combine(::testing::ValuesIn(container_cases()), kBothModes),
                         case_name);
INSTANTIATE_TEST_SUITE_P(Init, MetaModule,
                         ::testing::Combine(::testing::ValuesIn(init_cases()), kBothModes),
                         case_name);

}  // namespace
}  // namespace fakescore::testing
