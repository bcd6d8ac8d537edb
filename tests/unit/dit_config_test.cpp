#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fakescore/error.hpp"
#include "fakescore/models/dit.hpp"

namespace fakescore {
namespace {

std::string subject_of_failure(const std::string& json) {
  try {
    DiTConfig::from_json(json);
  } catch (const ConfigError& error) {
    return error.info().subject;
  }
  return "no error";
}

TEST(DiTConfig, ReadsEveryField) {
  const DiTConfig config = DiTConfig::from_json(R"({
    "num_attention_heads": 4, "attention_head_dim": 24, "in_channels": 1, "out_channels": 2,
    "num_layers": 5, "dropout": 0.25, "attention_bias": false, "sample_size": 8, "patch_size": 4,
    "num_embeds_ada_norm": 10, "norm_elementwise_affine": true, "norm_eps": 1e-6,
    "norm_type": "ada_norm_zero", "activation_fn": "gelu-approximate"})");
  EXPECT_EQ(config.num_attention_heads, 4);
  EXPECT_EQ(config.attention_head_dim, 24);
  EXPECT_EQ(config.inner_dim(), 96);
  EXPECT_EQ(config.in_channels, 1);
  EXPECT_EQ(config.out_channels, 2);
  EXPECT_EQ(config.num_layers, 5);
  EXPECT_EQ(config.dropout, 0.25);
  EXPECT_FALSE(config.attention_bias);
  EXPECT_EQ(config.sample_size, 8);
  EXPECT_EQ(config.patch_size, 4);
  EXPECT_EQ(config.num_embeds_ada_norm, 10);
  EXPECT_TRUE(config.norm_elementwise_affine);
  EXPECT_EQ(config.norm_eps, 1e-6);
}

TEST(DiTConfig, MissingKeysTakeDiffusersDefaults) {
  const DiTConfig config = DiTConfig::from_json(R"({"in_channels": 3, "_unknown": [1]})");
  EXPECT_EQ(config.num_attention_heads, 16);
  EXPECT_EQ(config.attention_head_dim, 72);
  EXPECT_EQ(config.num_layers, 28);
  EXPECT_EQ(config.sample_size, 32);
  EXPECT_EQ(config.num_embeds_ada_norm, 1000);
  EXPECT_TRUE(config.attention_bias);
  EXPECT_EQ(config.out_channels, 3) << "diffusers: None means as many as come in";
}

TEST(DiTConfig, NullOutChannelsAreInChannels) {
  EXPECT_EQ(DiTConfig::from_json(R"({"in_channels": 6, "out_channels": null})").out_channels, 6);
}

TEST(DiTConfig, NamesTheKeyThatIsNotSupported) {
  EXPECT_EQ(subject_of_failure(R"({"norm_type": "layer_norm"})"), "norm_type");
  EXPECT_EQ(subject_of_failure(R"({"activation_fn": "geglu"})"), "activation_fn");
}

TEST(DiTConfig, NamesTheKeyOfTheWrongType) {
  EXPECT_EQ(subject_of_failure(R"({"num_layers": "3"})"), "num_layers");
  EXPECT_EQ(subject_of_failure(R"({"num_layers": 3.5})"), "num_layers");
  EXPECT_EQ(subject_of_failure(R"({"num_layers": true})"), "num_layers");
  EXPECT_EQ(subject_of_failure(R"({"num_layers": null})"), "num_layers");
  EXPECT_EQ(subject_of_failure(R"({"sample_size": [32, 32]})"), "sample_size");
  EXPECT_EQ(subject_of_failure(R"({"norm_eps": "1e-5"})"), "norm_eps");
  EXPECT_EQ(subject_of_failure(R"({"attention_bias": 1})"), "attention_bias");
  EXPECT_EQ(subject_of_failure(R"({"norm_type": 3})"), "norm_type");
  EXPECT_EQ(subject_of_failure(R"({"num_embeds_ada_norm": 18446744073709551615})"),
            "num_embeds_ada_norm");
}

TEST(DiTConfig, NamesTheKeyWithAnImpossibleValue) {
  EXPECT_EQ(subject_of_failure(R"({"num_layers": 0})"), "num_layers");
  EXPECT_EQ(subject_of_failure(R"({"patch_size": 0})"), "patch_size");
  EXPECT_EQ(subject_of_failure(R"({"patch_size": 64})"), "patch_size");
  EXPECT_EQ(subject_of_failure(R"({"in_channels": -4})"), "in_channels");
  EXPECT_EQ(subject_of_failure(R"({"attention_head_dim": 4611686018427387904})"),
            "attention_head_dim");
  EXPECT_EQ(subject_of_failure(R"({"num_attention_heads": 1, "attention_head_dim": 6})"),
            "attention_head_dim");
  EXPECT_EQ(subject_of_failure(R"({"dropout": 1.5})"), "dropout");
  EXPECT_EQ(subject_of_failure(R"({"norm_eps": -1})"), "norm_eps");
}

TEST(DiTConfig, TextThatIsNoJsonObject) {
  EXPECT_EQ(subject_of_failure(""), "config.json");
  EXPECT_EQ(subject_of_failure("{"), "config.json");
  EXPECT_EQ(subject_of_failure("[1, 2]"), "config.json");
  EXPECT_EQ(subject_of_failure("\xff\xfe"), "config.json");
}

TEST(DiTConfig, DeepNestingDoesNotExhaustTheStack) {
  const size_t depth = 200000;
  const std::string json =
      "{\"num_layers\": " + std::string(depth, '[') + std::string(depth, ']') + "}";
  EXPECT_EQ(subject_of_failure(json), "num_layers");
}

TEST(DiTConfig, TheConstructorChecksTheSame) {
  DiTConfig config;
  config.patch_size = 0;
  EXPECT_THROW(DiTTransformer2DModel{config}, ConfigError);
}

}  // namespace
}  // namespace fakescore
