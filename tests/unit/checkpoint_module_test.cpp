#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "fakescore/error.hpp"
#include "fakescore/models/registry.hpp"
#include "fakescore/module/module_tensors.hpp"

namespace fakescore {
namespace {

using ::testing::HasSubstr;

TeacherTensor entry(std::string name, std::vector<int64_t> sizes = {2},
                    at::ScalarType dtype = at::kFloat) {
  return TeacherTensor{std::move(name), std::move(sizes), dtype, "weights.safetensors"};
}

std::string failure(const std::vector<TeacherTensor>& tensors) {
  try {
    build_checkpoint_module(tensors);
  } catch (const TeacherError& error) {
    return error.what();
  }
  return "no error";
}

TEST(CheckpointModule, HasTheNamesShapesAndDtypesGiven) {
  const auto module = build_checkpoint_module({
      entry("scale", {}),
      entry("blocks.0.norm.weight", {3, 4}, at::kBFloat16),
      entry("blocks.1.norm.weight", {0, 4}, at::kFloat8_e4m3fn),
      entry("blocks.0.steps", {1}, at::kLong),
      entry("blocks.0.mask", {5}, at::kBool),
      entry("rope.freqs", {2, 2}, at::kComplexFloat),
  });
  EXPECT_TRUE(module->is_training());
  const auto parameters = module->named_parameters();
  const auto buffers = module->named_buffers();
  EXPECT_EQ(parameters.size(), 4u);
  EXPECT_EQ(buffers.size(), 2u);
  EXPECT_EQ(parameters["scale"].dim(), 0);
  EXPECT_EQ(parameters["blocks.0.norm.weight"].sizes(), (std::vector<int64_t>{3, 4}));
  EXPECT_EQ(parameters["blocks.0.norm.weight"].scalar_type(), at::kBFloat16);
  EXPECT_TRUE(parameters["blocks.0.norm.weight"].requires_grad());
  EXPECT_EQ(parameters["blocks.1.norm.weight"].scalar_type(), at::kFloat8_e4m3fn);
  EXPECT_EQ(parameters["rope.freqs"].scalar_type(), at::kComplexFloat);
  EXPECT_EQ(buffers["blocks.0.steps"].scalar_type(), at::kLong);
  EXPECT_EQ(buffers["blocks.0.mask"].scalar_type(), at::kBool);
}

TEST(CheckpointModule, OfARealCheckpointHasEveryTensor) {
  for (const char* name : {"wan", "wan_sharded", "wan_bf16", "qwen_image", "flux", "unet2d"}) {
    const auto path = std::filesystem::path(FAKESCORE_TEST_DATA) / "models" / name;
    const auto teacher = TeacherSource::path(path).open();
    const auto module = build_checkpoint_module(teacher->tensors());
    const auto parameters = module->named_parameters();
    ASSERT_EQ(parameters.size(), teacher->tensors().size()) << name;
    for (const TeacherTensor& tensor : teacher->tensors()) {
      EXPECT_EQ(parameters[tensor.name].sizes(), tensor.sizes) << tensor.name;
      EXPECT_EQ(parameters[tensor.name].scalar_type(), tensor.dtype) << tensor.name;
    }
  }
}

TEST(CheckpointModule, OfNothingIsEmpty) {
  EXPECT_TRUE(build_checkpoint_module({})->parameters().empty());
}

TEST(CheckpointModule, PlaceholdersOfASplitModelAreRefused) {
  const auto text = failure({entry("a.weight", {0}), entry("a.bias", {0}), entry("a.scale", {3}),
                             entry("ids", {9}, at::kLong)});
  EXPECT_THAT(text, HasSubstr("weights.safetensors, tensor a.weight: has no elements, as 2 of 3"));
  EXPECT_THAT(text, HasSubstr("stage3_gather_16bit_weights_on_model_save"));
  EXPECT_THAT(failure({entry("a", {4, 0})}), HasSubstr("has no elements"));
  // A tensor may well have none.
  const auto module = build_checkpoint_module({entry("a", {0}), entry("b", {2})});
  EXPECT_EQ(module->parameters().size(), 2U);
}

TEST(CheckpointModule, ATensorCannotAlsoBeAPrefix) {
  const std::string both[] = {failure({entry("a.b"), entry("a.b.c")}),
                              failure({entry("a.b.c"), entry("a.b")})};
  for (const std::string& text : both) {
    EXPECT_THAT(text, HasSubstr("\"a.b.c\""));
    EXPECT_THAT(text, HasSubstr("\"a.b\""));
    EXPECT_THAT(text, HasSubstr("weights.safetensors"));
  }
}

TEST(CheckpointModule, NamesMustHaveParts) {
  for (const char* name : {"", ".", ".a", "a.", "a..b"}) {
    EXPECT_THAT(failure({entry(name)}), HasSubstr("empty part")) << name;
  }
  EXPECT_THAT(failure({entry("a"), entry("a")}), HasSubstr("is the name of two tensors"));
}

TEST(CheckpointModule, DeepNamesDoNotExhaustTheStack) {
  std::string name = "a";
  for (int i = 0; i < 100000; ++i) name += ".a";
  EXPECT_THAT(failure({entry(name)}), HasSubstr("more than 100 parts"));
}

}  // namespace
}  // namespace fakescore
