#include "fill/match_keys.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "fakescore/error.hpp"
#include "fakescore/module/module_tensors.hpp"
#include "fill/fill_plan_codec.hpp"
#include "support/tiny_models.hpp"

namespace fakescore::detail {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class MatchKeysTest : public ::testing::Test {
 protected:
  MatchKeysTest() {
    for (const NamedTensor& entry : module_tensors(module_)) {
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
  MatchedKeys plan(bool strict = true) {
    const Manifest manifest(module_tensors(module_));
    return match_keys(manifest, occupied_bytes_by_group(manifest), teacher_, "the teacher", strict);
  }
  std::string error(bool strict = true) {
    try {
      plan(strict);
    } catch (const TeacherError& error) {
      return error.what();
    }
    return "no error";
  }
  FillMode mode_of(const MatchedKeys& matched, const std::string& name) {
    const Manifest manifest(module_tensors(module_));
    for (const TensorSpec& spec : manifest.specs()) {
      for (const GroupPlan& group : matched.plan.groups) {
        if (spec.name == name && group.group == spec.alias_group) return group.mode;
      }
    }
    throw std::runtime_error(name);
  }

  testing::AwkwardModule module_;
  std::vector<TeacherTensor> teacher_;
};

TEST_F(MatchKeysTest, AWholeTeacherLeavesOnlyTheNonPersistentBufferToReplay) {
  const MatchedKeys result = plan();
  EXPECT_THAT(result.keys.missing, ElementsAre());
  EXPECT_THAT(result.keys.unexpected, ElementsAre());
  EXPECT_THAT(result.keys.replayed, ElementsAre("angles"));
  EXPECT_EQ(mode_of(result, "weight"), FillMode::kInPlace);
  EXPECT_EQ(mode_of(result, "channels_last"), FillMode::kAssemble);
  EXPECT_EQ(mode_of(result, "flat"), FillMode::kAssemble);
  EXPECT_EQ(mode_of(result, "angles"), FillMode::kReplay);
}

TEST_F(MatchKeysTest, ATeacherWithoutTensorsIsAnError) {
  teacher_.clear();
  for (const bool strict : {true, false}) {
    EXPECT_THAT(error(strict),
                AllOf(HasSubstr("the teacher: holds no tensor"), HasSubstr("a full state dict")));
  }
}

TEST_F(MatchKeysTest, APlaceholderIsNamedAsSuch) {
  for (const std::vector<int64_t>& sizes : {std::vector<int64_t>{0}, std::vector<int64_t>{4, 0}}) {
    find("weight").sizes = sizes;
    EXPECT_THAT(error(false), AllOf(HasSubstr("weight: has no elements in the teacher"),
                                    HasSubstr("placeholder"), HasSubstr("zero_to_fp32.py")));
  }
}

TEST_F(MatchKeysTest, OneNameOfATieIsEnough) {
  remove("tied");
  EXPECT_THAT(plan().keys.missing, ElementsAre());
  remove("weight");
  EXPECT_THAT(error(), AllOf(HasSubstr("2 missing (weight, tied)"), HasSubstr("the teacher")));
}

TEST_F(MatchKeysTest, ABaseCoversItsViews) {
  remove("rows");
  remove("column");
  EXPECT_THAT(plan().keys.missing, ElementsAre());
  remove("flat");
  EXPECT_THAT(error(), HasSubstr("3 missing (flat, rows, column)"));
}

TEST_F(MatchKeysTest, AViewDoesNotCoverItsBase) {
  remove("flat");
  remove("rows");
  const MatchedKeys result = plan(/*strict=*/false);
  EXPECT_THAT(result.keys.missing, ElementsAre("flat", "rows"));
  EXPECT_EQ(mode_of(result, "flat"), FillMode::kReplay);
}

TEST_F(MatchKeysTest, UnexpectedKeysAreErrorsOnlyWhereStrict) {
  teacher_.push_back({"ghost", {1}, at::kFloat, ""});
  teacher_.push_back({"angles", {64}, at::kFloat, ""});
  EXPECT_THAT(error(), HasSubstr("2 unexpected (ghost, angles)"));
  EXPECT_THAT(plan(/*strict=*/false).keys.unexpected, ElementsAre("ghost", "angles"));
}

TEST_F(MatchKeysTest, TravelsInTheNarrowerDtype) {
  find("big").dtype = at::kBFloat16;
  find("half").dtype = at::kFloat;
  const MatchedKeys result = plan();
  EXPECT_EQ(mode_of(result, "big"), FillMode::kCast);
  EXPECT_EQ(mode_of(result, "half"), FillMode::kAssemble);
  ASSERT_EQ(result.keys.cast.size(), 2U);
}

TEST_F(MatchKeysTest, RefusesWhatDoesNotFit) {
  find("big").sizes = {300, 999};
  EXPECT_THAT(error(false), AllOf(HasSubstr("big"), HasSubstr("[300, 999]")));
  find("big").sizes = {300, 1000};
  find("steps").dtype = at::kFloat;
  EXPECT_THAT(error(false), AllOf(HasSubstr("steps"), HasSubstr("would change values")));
  find("steps").dtype = at::kLong;
  find("big").dtype = at::kComplexFloat;
  EXPECT_THAT(error(false), HasSubstr("would change values"));
}

TEST_F(MatchKeysTest, IntegersMustHoldEveryValue) {
  torch::nn::Module module;
  module.register_buffer("short", torch::zeros({2}, torch::kShort));
  module.register_buffer("byte", torch::zeros({2}, torch::kByte));
  module.register_buffer("bool", torch::zeros({2}, torch::kBool));
  module.register_buffer("char", torch::zeros({2}, torch::kChar));
  const Manifest manifest(module_tensors(module));
  const auto fits = [&](const std::string& name, at::ScalarType dtype) {
    try {
      match_keys(manifest, occupied_bytes_by_group(manifest), {{name, {2}, dtype, ""}},
                 "the teacher",
                 /*strict=*/false);
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

TEST_F(MatchKeysTest, SurvivesTheWire) {
  teacher_.push_back({"ghost", {1}, at::kFloat, ""});
  find("big").dtype = at::kBFloat16;
  const MatchedKeys sent = plan(false);
  const auto [got, keys] = decode_plan(encode_plan(sent.plan, sent.keys));
  ASSERT_EQ(got.groups.size(), sent.plan.groups.size());
  for (size_t i = 0; i < got.groups.size(); ++i) {
    EXPECT_EQ(got.groups[i].group, sent.plan.groups[i].group);
    EXPECT_EQ(got.groups[i].mode, sent.plan.groups[i].mode);
    EXPECT_EQ(got.groups[i].wire, sent.plan.groups[i].wire);
    ASSERT_EQ(got.groups[i].fills.size(), sent.plan.groups[i].fills.size());
    for (size_t j = 0; j < got.groups[i].fills.size(); ++j) {
      EXPECT_EQ(got.groups[i].fills[j].spec, sent.plan.groups[i].fills[j].spec);
      EXPECT_EQ(got.groups[i].fills[j].teacher, sent.plan.groups[i].fills[j].teacher);
    }
  }
  EXPECT_EQ(keys.unexpected, sent.keys.unexpected);
  EXPECT_EQ(keys.replayed, sent.keys.replayed);
  ASSERT_EQ(keys.cast.size(), 1U);
  EXPECT_EQ(keys.cast[0].name, "big");
}

TEST_F(MatchKeysTest, WhatIsNoWeightIsSkippedAndNamed) {
  teacher_.push_back({"attention._extra_state", {3}, at::kByte, ""});
  teacher_.push_back({"my_extra_state", {3}, at::kByte, ""});
  const MatchedKeys result = plan(/*strict=*/false);
  EXPECT_THAT(result.keys.skipped, ElementsAre("attention._extra_state"));
  EXPECT_THAT(result.keys.unexpected, ElementsAre("my_extra_state"));
  teacher_.pop_back();
  EXPECT_THAT(plan(/*strict=*/true).keys.skipped, ElementsAre("attention._extra_state"));
}

}  // namespace
}  // namespace fakescore::detail
