#include "fakescore/models/dit.hpp"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <map>

#include "fakescore/models/registry.hpp"
#include "fakescore/module/module_tensors.hpp"
#include "support/load_teacher.hpp"

namespace fakescore {
namespace {

using testing::read_tensors;

const std::filesystem::path kFolder = std::filesystem::path(FAKESCORE_TEST_DATA) / "dit";

double largest_difference(const torch::Tensor& a, const torch::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

/// The model with the weights that diffusers saved, and what diffusers computed with them.
class DiT : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto module = build_teacher_from_config(kFolder / "config.json");
    model = std::dynamic_pointer_cast<DiTTransformer2DModel>(module);
    ASSERT_NE(model, nullptr);
    testing::load_weights(*model, kFolder / "diffusion_pytorch_model.safetensors");
    model->eval();
    io = read_tensors(kFolder / "io.safetensors");
  }

  torch::Tensor run() {
    return model->forward(io.at("in.hidden_states"), io.at("in.timestep"),
                          io.at("in.class_labels"));
  }

  std::shared_ptr<DiTTransformer2DModel> model;
  std::map<std::string, torch::Tensor> io;
};

TEST_F(DiT, OutputIsDiffusersOutput) {
  const torch::Tensor sample = run();
  ASSERT_EQ(sample.sizes(), io.at("out.sample").sizes());
  EXPECT_LE(largest_difference(sample, io.at("out.sample")), 1e-5);
}

TEST_F(DiT, EachBlockGivesDiffusersOutput) {
  const DiTFeatures features = model->forward_features(
      io.at("in.hidden_states"), io.at("in.timestep"), io.at("in.class_labels"));
  ASSERT_EQ(features.block_outputs.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    const torch::Tensor& expected = io.at("out.transformer_blocks." + std::to_string(i));
    EXPECT_LE(largest_difference(features.block_outputs[i], expected), 1e-5) << "block " << i;
  }
  EXPECT_TRUE(torch::equal(features.sample, run()));
}

TEST_F(DiT, GradientsAreDiffusersGradients) {
  run().square().mean().backward();
  std::map<std::string, torch::Tensor> sorted;
  for (const auto& entry : model->named_parameters()) sorted[entry.key()] = entry.value();
  const torch::Tensor& expected = io.at("grad_l2");
  ASSERT_EQ(expected.size(0), static_cast<int64_t>(sorted.size()));
  int64_t i = 0;
  for (const auto& [name, parameter] : sorted) {
    ASSERT_TRUE(parameter.grad().defined()) << name;
    const auto norm = parameter.grad().to(torch::kFloat64).norm().item<double>();
    const auto recorded = expected[i++].item<double>();
    EXPECT_NEAR(norm, recorded, 1e-5 * recorded + 1e-9) << name;
  }
}

TEST_F(DiT, PositionsAreANonPersistentBufferWithDiffusersValues) {
  torch::Tensor positions;
  for (const NamedTensor& entry : module_tensors(*model)) {
    if (entry.kind == TensorKind::kParameter) continue;
    EXPECT_EQ(entry.kind, TensorKind::kNonPersistentBuffer) << entry.name;
    EXPECT_EQ(entry.name, "pos_embed.pos_embed");
    positions = entry.tensor;
  }
  ASSERT_TRUE(positions.defined());
  const torch::Tensor& expected = io.at("buffer.pos_embed.pos_embed");
  ASSERT_EQ(positions.sizes(), expected.sizes());
  EXPECT_LE(largest_difference(positions, expected), 1e-7);
}

TEST_F(DiT, NamesAreTheCheckpointsNames) {
  std::vector<std::string> names;
  for (const auto& entry : model->named_parameters()) names.push_back(entry.key());
  std::vector<std::string> expected;
  for (const auto& [name, tensor] : read_tensors(kFolder / "diffusion_pytorch_model.safetensors")) {
    expected.push_back(name);
  }
  EXPECT_THAT(names, ::testing::UnorderedElementsAreArray(expected));
}

TEST_F(DiT, TrainingDropsOneLabelInTen) {
  torch::manual_seed(1);
  constexpr int64_t kSamples = 1000;
  const torch::Tensor image = torch::randn({1, 4, 8, 8}).expand({kSamples, -1, -1, -1});
  const torch::Tensor timestep = torch::full({kSamples}, 500, torch::kInt64);
  const torch::Tensor labels = torch::full({kSamples}, 3, torch::kInt64);
  torch::NoGradGuard no_grad;
  // Each block drops on its own, the first one's conditioning is drawn again for the output.
  model->train();
  const torch::Tensor first =
      model->forward_features(image, timestep, labels).block_outputs.front();
  model->eval();
  const torch::Tensor kept =
      model->forward_features(image.slice(0, 0, 1), timestep.slice(0, 0, 1), labels.slice(0, 0, 1))
          .block_outputs.front();
  const torch::Tensor differs = (first - kept).abs().amax({1, 2}) > 1e-4;
  const auto dropped = differs.sum().item<int64_t>();
  EXPECT_GT(dropped, 60);
  EXPECT_LT(dropped, 140);

  const torch::Tensor no_class = torch::full({1}, 10, torch::kInt64);
  const torch::Tensor unconditional =
      model->forward_features(image.slice(0, 0, 1), timestep.slice(0, 0, 1), no_class)
          .block_outputs.front();
  const torch::Tensor as_no_class = (first - unconditional).abs().amax({1, 2}) < 1e-4;
  EXPECT_EQ(as_no_class.sum().item<int64_t>(), dropped);
}

TEST_F(DiT, TakesOtherSizesThanItsOwn) {
  const torch::Tensor image = torch::randn({1, 4, 12, 16});
  const torch::Tensor timestep = torch::full({1}, 500, torch::kInt64);
  const torch::Tensor labels = torch::full({1}, 3, torch::kInt64);
  const torch::Tensor sample = model->forward(image, timestep, labels);
  EXPECT_EQ(sample.sizes(), (std::vector<int64_t>{1, 8, 12, 16}));
  EXPECT_TRUE(sample.isfinite().all().item<bool>());
  EXPECT_ANY_THROW(model->forward(torch::randn({1, 4, 7, 8}), timestep, labels));
}

TEST_F(DiT, ComputesInBfloat16) {
  const torch::Tensor expected = run();
  model->to(torch::kBFloat16);
  const torch::Tensor sample = model->forward(io.at("in.hidden_states").to(torch::kBFloat16),
                                              io.at("in.timestep"), io.at("in.class_labels"));
  EXPECT_EQ(sample.scalar_type(), torch::kBFloat16);
  EXPECT_LE(largest_difference(sample.to(torch::kFloat32), expected), 0.1);
}

TEST(DiTModel, AffineNormsAndMissingBiasesShowInTheNames) {
  DiTConfig config;
  config.num_attention_heads = 2;
  config.attention_head_dim = 4;
  config.num_layers = 1;
  config.norm_elementwise_affine = true;
  config.attention_bias = false;
  const DiTTransformer2DModel model(config);
  const auto parameters = model.named_parameters();
  EXPECT_TRUE(parameters.contains("transformer_blocks.0.norm3.weight"));
  EXPECT_TRUE(parameters.contains("transformer_blocks.0.norm3.bias"));
  EXPECT_FALSE(parameters.contains("transformer_blocks.0.attn1.to_q.bias"));
  EXPECT_TRUE(parameters.contains("transformer_blocks.0.attn1.to_out.0.bias"));
}

}  // namespace
}  // namespace fakescore
