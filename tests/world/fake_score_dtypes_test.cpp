// Which dtypes a fake score's tensors get, and what travels for them; names that do not fit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>

#include "fakescore/error.hpp"
#include "fakescore/fill/broadcast_teacher_tensors.hpp"
#include "fakescore/models/registry.hpp"
#include "fakescore/module/create_fake_score_meta.hpp"
#include "fakescore/module/module_tensors.hpp"
#include "support/error_of.hpp"
#include "support/load_teacher.hpp"
#include "support/rank_environment.hpp"
#include "support/root_teacher.hpp"
#include "support/tensor_checks.hpp"
#include "support/tiny_models.hpp"

namespace fakescore {
namespace {

using ::testing::AllOf;
using testing::bit_equal;
using testing::error_of;
using ::testing::HasSubstr;
using testing::only_on_root;
using testing::run_on_every_rank;

const std::filesystem::path kModels = std::filesystem::path(FAKESCORE_TEST_DATA) / "models";

/// What Wan keeps in float32 while the rest is bfloat16.
const std::string kWanInFloat = R"((time_embedder|norm2)\.|scale_shift_table)";

at::ScalarType mixed(const std::string& name) {
  const bool is_float = name.find("time_embedder.") != std::string::npos ||
                        name.find("norm2.") != std::string::npos ||
                        name.find("scale_shift_table") != std::string::npos;
  return is_float ? at::kFloat : at::kBFloat16;
}

/// Fills a module of the checkpoint's own names; compares every tensor with the teacher's under
/// Tensor::to, the report's casts with the dtypes, and its bytes with the narrower of them.
void expect_filled(Communicator& communicator, const std::string& model, const MetaOptions& options,
                   const std::function<at::ScalarType(const std::string&)>& dtype_of) {
  const auto teacher = only_on_root(communicator, TeacherSource::path(kModels / model));
  const auto tensors = broadcast_teacher_tensors(teacher, communicator);
  const auto result = create_fake_score_meta([&] { return build_checkpoint_module(tensors); },
                                             teacher, communicator, options);
  const auto want = testing::read_tensors(kModels / model);
  uint64_t bytes = 0;
  std::vector<std::string> casts;
  for (const NamedTensor& entry : module_tensors(*result.module)) {
    const at::Tensor& from = want.at(entry.name);
    const at::ScalarType to = dtype_of(entry.name);
    EXPECT_TRUE(bit_equal(entry.tensor, from.to(to))) << entry.name;
    if (from.scalar_type() != to) casts.push_back(entry.name);
    const size_t narrower = std::min(c10::elementSize(from.scalar_type()), c10::elementSize(to));
    bytes += static_cast<uint64_t>(from.numel()) * narrower;
  }
  // Casted pieces begin at multiples of 16 bytes of a bucket, with less than that between them.
  EXPECT_GE(result.report.bytes, bytes);
  EXPECT_LT(result.report.bytes, bytes + 16 * want.size());
  std::vector<std::string> reported;
  for (const CastKey& key : result.report.cast) {
    EXPECT_EQ(key.from, want.at(key.name).scalar_type()) << key.name;
    EXPECT_EQ(key.to, dtype_of(key.name)) << key.name;
    reported.push_back(key.name);
  }
  EXPECT_THAT(reported, ::testing::UnorderedElementsAreArray(casts));
}

TEST(FakeScoreDtypes, ACheckpointsOwnMixtureIsKept) {
  run_on_every_rank(
      [](Communicator& communicator) { expect_filled(communicator, "wan_bf16", {}, mixed); });
}

TEST(FakeScoreDtypes, MasterWeightsTravelAsTheTeacherHasThem) {
  run_on_every_rank([](Communicator& communicator) {
    MetaOptions options;
    options.dtype = at::kFloat;
    options.verify = true;
    expect_filled(communicator, "wan_bf16", options, [](const auto&) { return at::kFloat; });
  });
}

TEST(FakeScoreDtypes, RulesMakeAMixtureOfAFloatTeacher) {
  run_on_every_rank([](Communicator& communicator) {
    MetaOptions options;
    options.dtype = at::kBFloat16;
    options.dtype_rules = {{kWanInFloat, at::kFloat}};
    options.verify = true;
    expect_filled(communicator, "wan", options, mixed);
    // Without dtype, names that no rule matches stay; the first rule that matches wins.
    options.dtype = std::nullopt;
    options.dtype_rules = {
        {kWanInFloat, at::kFloat}, {"blocks", at::kDouble}, {"norm2", at::kHalf}};
    expect_filled(communicator, "wan_bf16", options, [](const std::string& name) {
      if (mixed(name) == at::kFloat) return at::kFloat;
      return name.starts_with("blocks") ? at::kDouble : at::kBFloat16;
    });
  });
}

/// Ties, views of one storage, integers and what is replayed.
void expect_awkward(Communicator& communicator, const std::vector<DtypeRule>& rules,
                    const std::string& message) {
  MetaOptions options;
  options.dtype = at::kBFloat16;
  options.dtype_rules = rules;
  options.strict = false;
  const auto create = [&] {
    return create_fake_score_meta([] { return std::make_shared<testing::AwkwardModule>(); },
                                  testing::unrelated_teacher(communicator), communicator, options);
  };
  if (!message.empty()) {
    EXPECT_THAT(error_of<ConfigError>(create), AllOf(HasSubstr(message), HasSubstr("in build")));
    return;
  }
  const auto module = create().module;
  const auto parameters = module->named_parameters();
  const auto buffers = module->named_buffers();
  EXPECT_EQ(parameters["weight"].scalar_type(), at::kFloat);
  EXPECT_TRUE(parameters["weight"].is_alias_of(parameters["tied"]));
  EXPECT_EQ(parameters["big"].scalar_type(), at::kBFloat16);
  EXPECT_EQ(buffers["rows"].scalar_type(), at::kDouble);
  EXPECT_TRUE(buffers["rows"].is_alias_of(buffers["column"]));
  EXPECT_EQ(buffers["steps"].scalar_type(), at::kLong);
  EXPECT_TRUE(torch::equal(buffers["angles"], torch::arange(64).to(at::kFloat) * 0.25));
}

TEST(FakeScoreDtypes, WhatSharesStorageGetsOneDtype) {
  run_on_every_rank([](Communicator& communicator) {
    const std::vector<DtypeRule> good{
        {"^(weight|tied)$", at::kFloat}, {"flat|rows|column", at::kDouble}, {"angles", at::kFloat}};
    expect_awkward(communicator, good, "");
    expect_awkward(communicator, {{"^weight$", at::kFloat}},
                   "tied: would become BFloat16, but shares storage with weight");
    expect_awkward(communicator, {{"flat", at::kFloat}, {"rows|column", at::kDouble}},
                   "shares storage with flat");
  });
}

TEST(FakeScoreDtypes, RulesThatCannotWorkAreNamed) {
  run_on_every_rank([](Communicator& communicator) {
    expect_awkward(communicator, {{"half", at::kFloat}, {"nrom", at::kFloat}},
                   "dtype rule \"nrom\"");
    expect_awkward(communicator, {{"steps", at::kFloat}}, "dtype rule \"steps\"");
    expect_awkward(communicator, {{"", at::kFloat}}, "dtype rule \"\"");
    expect_awkward(communicator, {{"a(", at::kFloat}}, "not a regular expression");
    expect_awkward(communicator, {{"half", at::kLong}}, "not a floating-point dtype");
  });
}

TEST(FakeScoreDtypes, RanksMustHaveTheSameRules) {
  run_on_every_rank([](Communicator& communicator) {
    if (communicator.world_size() == 1) return;
    MetaOptions options;
    const bool is_last = communicator.rank() == communicator.world_size() - 1;
    options.dtype_rules = {{is_last ? "half|big" : "half", at::kFloat}};
    EXPECT_THAT(error_of<MismatchError>([&] {
                  create_fake_score_meta([] { return std::make_shared<testing::AwkwardModule>(); },
                                         testing::unrelated_teacher(communicator), communicator,
                                         options);
                }),
                AllOf(HasSubstr("dtype_rules=half=Float"), HasSubstr("half|big=Float")));
  });
}

TEST(FakeScoreNames, AWrappedTeacherFitsUnderItsPlainNames) {
  run_on_every_rank([](Communicator& communicator) {
    const auto x = torch::arange(64.).view({8, 8});
    const auto source =
        only_on_root(communicator, {{"ddp.net.first.weight", x},
                                    {"ddp.net.first.bias", x[0]},
                                    {"ddp.net.last.weight", x + 1},
                                    {"ddp.net.last.bias", x[1]},
                                    {"ddp.net.counter", torch::ones(1).to(at::kLong)}});
    const auto build = [] { return std::make_shared<testing::PlainModule>(); };
    const auto renamed = source.strip_prefix("ddp.").rename_keys({R"(^net\.=)", "last=second"});
    const auto module = create_fake_score_meta(build, renamed, communicator).module;
    EXPECT_TRUE(torch::equal(module->named_parameters()["second.weight"], x + 1));
    EXPECT_EQ(broadcast_teacher_tensors(renamed, communicator).front().name, "first.weight");
  });
}

TEST(FakeScoreNames, EveryRankHearsOfACollision) {
  run_on_every_rank([](Communicator& communicator) {
    const auto source =
        only_on_root(communicator, {{"ema.weight", torch::ones(1)}, {"net.weight", torch::ones(1)}})
            .rename_keys({R"(^\w+\.=)"});
    const auto build = [] { return std::make_shared<testing::PlainModule>(); };
    for (const auto& text :
         {error_of<TeacherError>([&] { create_fake_score_meta(build, source, communicator); }),
          error_of<TeacherError>([&] { broadcast_teacher_tensors(source, communicator); })}) {
      EXPECT_THAT(text, AllOf(HasSubstr("rank 0 in plan"), HasSubstr("ema.weight"),
                              HasSubstr("net.weight"), HasSubstr(R"(^\w+\.=)")));
    }
    const auto shape =
        only_on_root(communicator, {{"net.counter", torch::ones(3)}}).strip_prefix("net.");
    EXPECT_THAT(error_of<TeacherError>([&] { create_fake_score_meta(build, shape, communicator); }),
                HasSubstr("counter (stored as net.counter)"));
  });
}

}  // namespace
}  // namespace fakescore
