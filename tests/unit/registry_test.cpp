#include "fakescore/models/registry.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "fakescore/error.hpp"
#include "fakescore/models/dit.hpp"
#include "support/temp_folder.hpp"

namespace fakescore {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::filesystem::path kData = FAKESCORE_TEST_DATA;

constexpr const char* kTinyDiT = R"("num_attention_heads": 2, "attention_head_dim": 4,
                                    "num_layers": 1, "sample_size": 4, "num_embeds_ada_norm": 3)";

ErrorInfo failure(const std::function<void()>& action) {
  try {
    action();
  } catch (const ConfigError& error) {
    return error.info();
  }
  ADD_FAILURE() << "no ConfigError";
  return {};
}

TEST(ModelRegistry, BuildsTheBuiltinModels) {
  const auto registry = ModelRegistry::with_builtin_models();
  EXPECT_THAT(registry.class_names(), ElementsAre("DiTTransformer2DModel", "Transformer2DModel"));
  const auto module =
      registry.build(std::string(R"({"_class_name": "DiTTransformer2DModel", )") + kTinyDiT + "}");
  EXPECT_NE(std::dynamic_pointer_cast<DiTTransformer2DModel>(module), nullptr);
}

TEST(ModelRegistry, ReadsDiTUnderItsOldName) {
  const auto registry = ModelRegistry::with_builtin_models();
  const std::string start = R"({"_class_name": "Transformer2DModel", )";
  const auto module = registry.build(start + R"("norm_type": "ada_norm_zero", )" + kTinyDiT + "}");
  EXPECT_NE(std::dynamic_pointer_cast<DiTTransformer2DModel>(module), nullptr);
  EXPECT_EQ(failure([&] { registry.build(start + kTinyDiT + "}"); }).subject, "norm_type");
}

TEST(ModelRegistry, TakesUsersModels) {
  ModelRegistry registry = ModelRegistry::with_builtin_models();
  EXPECT_FALSE(registry.contains("Mine"));
  registry.add("Mine", [](const std::string& json) {
    EXPECT_THAT(json, HasSubstr("width"));
    return std::make_shared<torch::nn::LinearImpl>(2, 3);
  });
  EXPECT_TRUE(registry.contains("Mine"));
  const auto module = registry.build(R"({"_class_name": "Mine", "width": 3})");
  EXPECT_NE(std::dynamic_pointer_cast<torch::nn::LinearImpl>(module), nullptr);

  registry.add("Mine", [](const std::string&) { return nullptr; });
  EXPECT_EQ(failure([&] { registry.build(R"({"_class_name": "Mine"})"); }).subject, "Mine");
  EXPECT_EQ(registry.class_names().size(), 3u) << "a second factory replaces the first";
}

TEST(ModelRegistry, AnUnknownClassNamesTheKnownOnes) {
  const ErrorInfo info = failure([] {
    ModelRegistry::with_builtin_models().build(R"({"_class_name": "WanTransformer3DModel"})");
  });
  EXPECT_EQ(info.subject, "_class_name");
  EXPECT_THAT(info.message, HasSubstr("WanTransformer3DModel"));
  EXPECT_THAT(info.remedy, HasSubstr("DiTTransformer2DModel"));
}

TEST(ModelRegistry, ClassNameMustBeAString) {
  EXPECT_EQ(model_class_name(R"({"_class_name": "A"})"), "A");
  EXPECT_EQ(failure([] { model_class_name("{}"); }).subject, "_class_name");
  EXPECT_EQ(failure([] { model_class_name(R"({"_class_name": 3})"); }).subject, "_class_name");
  EXPECT_EQ(failure([] { model_class_name(R"({"_class_name": null})"); }).subject, "_class_name");
}

TEST(BuildTeacherFromConfig, GivesAModuleInTrainingMode) {
  const auto module = build_teacher_from_config(kData / "dit/config.json");
  EXPECT_TRUE(module->is_training());
  EXPECT_EQ(module->parameters().size(), 63u);
}

TEST(BuildTeacherFromConfig, NamesTheFile) {
  EXPECT_THAT(failure([] { build_teacher_from_config("/nowhere/config.json"); }).subject,
              HasSubstr("/nowhere/config.json"));
  EXPECT_THAT(failure([] { build_teacher_from_config(kData); }).subject, kData.string());

  const testing::TempFolder folder;
  std::ofstream(folder / "config.json") << R"({"_class_name": "DiTTransformer2DModel",
                                               "num_layers": "many"})";
  const ErrorInfo info = failure([&] { build_teacher_from_config(folder / "config.json"); });
  EXPECT_EQ(info.subject, "num_layers");
  EXPECT_THAT(info.message, HasSubstr((folder / "config.json").string()));
}

}  // namespace
}  // namespace fakescore
