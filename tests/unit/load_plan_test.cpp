#include "factory/load_plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "fakescore/core/error.hpp"
#include "support/tiny_models.hpp"

namespace fakescore::detail {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class LoadPlanTest : public ::testing::Test {
 protected:
  LoadPlanTest() {
    for (const ModuleTensor& entry : module_tensors(module_)) {
      if (entry.kind == TensorKind::kNonPersistentBuffer) continue;
      teacher_.push_back({entry.name, entry.tensor.sizes().vec(), entry.tensor.scalar_type(), ""});
    }
  }

  void remove(const std::string& name) {
    std::erase_if(teacher_, [&](const TeacherTensor& tensor) { return tensor.name == name; });
  }
  TeacherTensor& find(const std::string& name) {
    for (TeacherTensor& tensor : teacher_) {
      if (tensor.name == name) return tensor;
    }
    throw std::runtime_error(name);
  }
  LoadPlan plan(bool strict = true) {
    return make_load_plan(Manifest(module_tensors(module_)), teacher_, "the teacher", strict);
  }
  std::string error(bool strict = true) {
    try {
      plan(strict);
    } catch (const TeacherError& error) {
      return error.what();
    }
    return "no error";
  }
  FillMode mode_of(const LoadPlan& plan, const std::string& name) {
    const Manifest manifest(module_tensors(module_));
    for (const TensorSpec& spec : manifest.specs()) {
      for (const GroupPlan& group : plan.groups) {
        if (spec.name == name && group.group == spec.alias_group) return group.mode;
      }
    }
    throw std::runtime_error(name);
  }

  testing::AwkwardModule module_;
  std::vector<TeacherTensor> teacher_;
};

TEST_F(LoadPlanTest, AWholeTeacherLeavesOnlyTheNonPersistentBufferToReplay) {
  const LoadPlan result = plan();
  EXPECT_THAT(result.missing, ElementsAre());
  EXPECT_THAT(result.unexpected, ElementsAre());
  EXPECT_THAT(result.replayed, ElementsAre("angles"));
  EXPECT_EQ(mode_of(result, "weight"), FillMode::kInPlace);
  EXPECT_EQ(mode_of(result, "channels_last"), FillMode::kAssemble);
  EXPECT_EQ(mode_of(result, "flat"), FillMode::kAssemble);
  EXPECT_EQ(mode_of(result, "angles"), FillMode::kReplay);
}

TEST_F(LoadPlanTest, ATeacherWithoutTensorsIsAnError) {
  teacher_.clear();
  for (const bool strict : {true, false}) {
    EXPECT_THAT(error(strict),
                AllOf(HasSubstr("the teacher: holds no tensor"), HasSubstr("a full state dict")));
  }
}

TEST_F(LoadPlanTest, APlaceholderIsNamedAsSuch) {
  for (const std::vector<int64_t>& sizes : {std::vector<int64_t>{0}, std::vector<int64_t>{4, 0}}) {
    find("weight").sizes = sizes;
    EXPECT_THAT(error(false), AllOf(HasSubstr("weight: has no elements in the teacher"),
                                    HasSubstr("placeholder"), HasSubstr("zero_to_fp32.py")));
  }
}

TEST_F(LoadPlanTest, OneNameOfATieIsEnough) {
  remove("tied");
  EXPECT_THAT(plan().missing, ElementsAre());
  remove("weight");
  EXPECT_THAT(error(), AllOf(HasSubstr("2 missing (weight, tied)"), HasSubstr("the teacher")));
}

TEST_F(LoadPlanTest, ABaseCoversItsViews) {
  remove("rows");
  remove("column");
  EXPECT_THAT(plan().missing, ElementsAre());
  remove("flat");
  EXPECT_THAT(error(), HasSubstr("3 missing (flat, rows, column)"));
}

TEST_F(LoadPlanTest, AViewDoesNotCoverItsBase) {
  remove("flat");
  remove("rows");
  const LoadPlan result = plan(/*strict=*/false);
  EXPECT_THAT(result.missing, ElementsAre("flat", "rows"));
  EXPECT_EQ(mode_of(result, "flat"), FillMode::kReplay);
}

TEST_F(LoadPlanTest, UnexpectedKeysAreErrorsOnlyWhereStrict) {
  teacher_.push_back({"ghost", {1}, at::kFloat, ""});
  teacher_.push_back({"angles", {64}, at::kFloat, ""});
  EXPECT_THAT(error(), HasSubstr("2 unexpected (ghost, angles)"));
  EXPECT_THAT(plan(/*strict=*/false).unexpected, ElementsAre("ghost", "angles"));
}

TEST_F(LoadPlanTest, TravelsInTheNarrowerDtype) {
  find("big").dtype = at::kBFloat16;
  find("half").dtype = at::kFloat;
  const LoadPlan result = plan();
  EXPECT_EQ(mode_of(result, "big"), FillMode::kCast);
  EXPECT_EQ(mode_of(result, "half"), FillMode::kAssemble);
  ASSERT_EQ(result.cast.size(), 2U);
}

TEST_F(LoadPlanTest, RefusesWhatDoesNotFit) {
  find("big").sizes = {300, 999};
  EXPECT_THAT(error(false), AllOf(HasSubstr("big"), HasSubstr("[300, 999]")));
  find("big").sizes = {300, 1000};
  find("steps").dtype = at::kFloat;
  EXPECT_THAT(error(false), AllOf(HasSubstr("steps"), HasSubstr("would change values")));
  find("steps").dtype = at::kLong;
  find("big").dtype = at::kComplexFloat;
  EXPECT_THAT(error(false), HasSubstr("would change values"));
}

TEST_F(LoadPlanTest, IntegersMustHoldEveryValue) {
  torch::nn::Module module;
  module.register_buffer("short", torch::zeros({2}, torch::kShort));
  module.register_buffer("byte", torch::zeros({2}, torch::kByte));
  module.register_buffer("bool", torch::zeros({2}, torch::kBool));
  module.register_buffer("char", torch::zeros({2}, torch::kChar));
  const Manifest manifest(module_tensors(module));
  const auto fits = [&](const std::string& name, at::ScalarType dtype) {
    try {
      make_load_plan(manifest, {{name, {2}, dtype, ""}}, "the teacher", /*strict=*/false);
      return true;
    } catch (const TeacherError& error) {
      EXPECT_THAT(error.what(), HasSubstr("would change values"));
      return false;
    }
  };
  for (const auto dtype : {at::kByte, at::kChar, at::kBool, at::kShort}) {
    EXPECT_TRUE(fits("short", dtype)) << dtype;
  }
  EXPECT_TRUE(fits("byte", at::kBool));
  EXPECT_TRUE(fits("char", at::kBool));
  EXPECT_FALSE(fits("short", at::kUInt16));
  EXPECT_FALSE(fits("short", at::kInt));
  EXPECT_FALSE(fits("byte", at::kChar));
  EXPECT_FALSE(fits("char", at::kByte));
  EXPECT_FALSE(fits("bool", at::kByte));
  EXPECT_FALSE(fits("bool", at::kChar));
}

TEST_F(LoadPlanTest, SurvivesTheWire) {
  teacher_.push_back({"ghost", {1}, at::kFloat, ""});
  find("big").dtype = at::kBFloat16;
  const LoadPlan sent = plan(false);
  const LoadPlan got = LoadPlan::deserialize(sent.serialize());
  ASSERT_EQ(got.groups.size(), sent.groups.size());
  for (size_t i = 0; i < sent.groups.size(); ++i) {
    EXPECT_EQ(got.groups[i].group, sent.groups[i].group);
    EXPECT_EQ(got.groups[i].mode, sent.groups[i].mode);
    EXPECT_EQ(got.groups[i].wire, sent.groups[i].wire);
  }
  EXPECT_EQ(got.unexpected, sent.unexpected);
  EXPECT_EQ(got.replayed, sent.replayed);
  ASSERT_EQ(got.cast.size(), 1U);
  EXPECT_EQ(got.cast[0].name, "big");
}

}  // namespace
}  // namespace fakescore::detail
