#include "fakescore/module/create_fake_score.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/script.h>
#include <torch/torch.h>

#include "fakescore/comm/make_communicator.hpp"
#include "fakescore/error.hpp"
#include "fakescore/module/create_fake_score_meta.hpp"
#include "fakescore/module/module_source.hpp"
#include "fakescore/module/module_tensors.hpp"
#include "support/error_of.hpp"
#include "support/lazy_module.hpp"
#include "support/tensor_checks.hpp"
#include "support/tiny_models.hpp"

namespace fakescore {
namespace {

using testing::AwkwardModule;
using testing::bit_equal;
using testing::error_of;
using ::testing::HasSubstr;
using testing::LazyModule;
using testing::PlainModule;

/// Registers one tensor twice and a strided one: what Cloneable::clone() does not keep.
class TiedModule : public torch::nn::Cloneable<TiedModule> {
 public:
  TiedModule() { reset(); }
  void reset() override {
    weight = register_parameter("weight", torch::randn({6, 4}));
    register_parameter("transposed", weight.detach().t());
    strided = register_buffer("strided", torch::randn({5, 3}).t());
    steps = register_buffer("steps", torch::arange(3));
  }
  torch::Tensor weight, strided, steps;
};

void expect_same_values(const torch::nn::Module& a, const torch::nn::Module& b) {
  const auto x = module_tensors(a);
  const auto y = module_tensors(b);
  ASSERT_EQ(x.size(), y.size());
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_EQ(x[i].name, y[i].name);
    EXPECT_TRUE(bit_equal(x[i].tensor, y[i].tensor)) << x[i].name;
    if (x[i].tensor.numel() > 0) {
      EXPECT_NE(x[i].tensor.const_data_ptr(), y[i].tensor.const_data_ptr()) << x[i].name;
    }
  }
}

TEST(CreateFakeScore, CopiesAndLeavesTheTeacherAsItWas) {
  auto teacher = std::make_shared<PlainModule>();
  teacher->eval();
  for (auto& parameter : teacher->parameters()) parameter.set_requires_grad(false);
  const auto copy = create_fake_score(teacher);
  expect_same_values(*teacher, *copy);
  EXPECT_TRUE(copy->is_training());
  for (const auto& parameter : copy->parameters()) {
    EXPECT_TRUE(parameter.requires_grad());
  }
  EXPECT_FALSE(teacher->is_training());
  for (const auto& parameter : teacher->parameters()) {
    EXPECT_FALSE(parameter.requires_grad());
  }
}

void expect_to_train(PlainModule& module) {
  const auto before = module.first->weight.detach().clone();
  torch::optim::SGD optimizer(module.parameters(), 0.1);
  module.forward(torch::ones({2, 8})).sum().backward();
  optimizer.step();
  EXPECT_FALSE(torch::equal(module.first->weight, before));
}

TEST(CreateFakeScore, TheCopyTrains) {
  auto teacher = std::make_shared<PlainModule>();
  const auto before = teacher->first->weight.detach().clone();
  const auto copy = std::dynamic_pointer_cast<PlainModule>(create_fake_score(teacher));
  ASSERT_TRUE(copy);
  expect_to_train(*copy);
  EXPECT_TRUE(torch::equal(teacher->first->weight, before));
}

TEST(CreateFakeScore, TheResultTrainsAlsoWhereItIsMadeInInferenceMode) {
  const auto teacher = std::make_shared<PlainModule>();
  const auto build = [] { return std::make_shared<PlainModule>(); };
  std::vector<std::shared_ptr<torch::nn::Module>> copies;
  {
    const torch::InferenceMode inference;
    copies.push_back(create_fake_score(teacher));
    copies.push_back(create_fake_score(teacher, {.build = build}));
    const auto single = make_local_communicators(1);
    copies.push_back(create_fake_score_meta(build, module_source(teacher), *single[0]).module);
    EXPECT_TRUE(torch::InferenceMode::is_enabled());
  }
  for (const auto& copy : copies) {
    expect_to_train(dynamic_cast<PlainModule&>(*copy));
  }
}

TEST(CreateFakeScore, KeepsTiesAndStrides) {
  auto teacher = std::make_shared<TiedModule>();
  const auto copy = std::dynamic_pointer_cast<TiedModule>(create_fake_score(teacher));
  expect_same_values(*teacher, *copy);
  const auto parameters = copy->named_parameters();
  EXPECT_TRUE(parameters["weight"].is_alias_of(parameters["transposed"]));
  EXPECT_TRUE(parameters["weight"].is_leaf());
}

TEST(CreateFakeScore, WithoutACopyIsTheSameInstance) {
  auto teacher = std::make_shared<PlainModule>();
  teacher->eval();
  teacher->register_module("_fsdp_wrapped_module", torch::nn::Linear(1, 1));
  for (auto& parameter : teacher->parameters()) parameter.set_requires_grad(false);
  const auto same = create_fake_score(teacher, {.deep_copy = false});
  EXPECT_EQ(same, teacher);
  EXPECT_TRUE(teacher->is_training());
  for (const auto& parameter : teacher->parameters()) {
    EXPECT_TRUE(parameter.requires_grad());
  }
}

TEST(CreateFakeScore, RefusesAWrappedTeacher) {
  auto teacher = std::make_shared<torch::nn::Module>();
  teacher->register_module("_fsdp_wrapped_module", torch::nn::Linear(2, 2));
  const auto says_what_to_pass =
      AllOf(HasSubstr("create_fake_score_meta"), HasSubstr("builder"), HasSubstr("TeacherSource"));
  EXPECT_THAT(error_of<ConfigError>([&] { create_fake_score(teacher); }), says_what_to_pass);
  const auto single = make_local_communicators(1);
  EXPECT_THAT(error_of<ConfigError>([&] { create_fake_score_meta(teacher, *single[0]); }),
              says_what_to_pass);
}

TEST(CreateFakeScore, NamesTheTypeThatCannotBeCloned) {
  try {
    create_fake_score(std::make_shared<AwkwardModule>());
    FAIL() << "no error";
  } catch (const BuildError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("AwkwardModule"), HasSubstr("build")));
  }
  EXPECT_THROW(create_fake_score(std::shared_ptr<torch::nn::Module>()), ConfigError);
}

TEST(CreateFakeScore, ABuilderServesAnyClass) {
  auto teacher = std::make_shared<AwkwardModule>();
  teacher->eval();
  const auto copy = std::dynamic_pointer_cast<AwkwardModule>(
      create_fake_score(teacher, {.build = [] { return std::make_shared<AwkwardModule>(); }}));
  ASSERT_TRUE(copy);
  expect_same_values(*teacher, *copy);
  EXPECT_TRUE(bit_equal(copy->hidden, teacher->hidden));
  EXPECT_TRUE(copy->weight.requires_grad());
  EXPECT_FALSE(teacher->is_training());
}

TEST(CreateFakeScore, ABuilderGivesTheStructureAndTheTeacherEverythingElse) {
  auto teacher = std::make_shared<AwkwardModule>();
  teacher->angles.fill_(7);  // non-persistent, changed after construction
  for (auto& parameter : teacher->named_parameters()) {
    if (parameter.key() == "big") parameter.value().set_data(parameter.value().to(at::kBFloat16));
  }
  const auto copy = std::dynamic_pointer_cast<AwkwardModule>(
      create_fake_score(teacher, {.build = [] { return std::make_shared<AwkwardModule>(); }}));
  ASSERT_TRUE(copy);
  expect_same_values(*teacher, *copy);
  EXPECT_EQ(copy->big.scalar_type(), at::kBFloat16);
  EXPECT_EQ(copy->named_parameters()["tied"].unsafeGetTensorImpl(),
            copy->weight.unsafeGetTensorImpl());
  EXPECT_TRUE(copy->named_buffers()["column"].is_alias_of(copy->flat));
}

/// Keeps a view of a parameter that nobody registered.
class ViewModule : public torch::nn::Module {
 public:
  ViewModule() {
    weight = register_parameter("weight", torch::randn({6, 4}));
    weight_t = weight.detach().t();
  }
  torch::Tensor weight, weight_t;
};

TEST(CreateFakeScore, ABuildersPlainViewsAreTheCopysOwn) {
  auto teacher = std::make_shared<ViewModule>();
  torch::manual_seed(3);
  const auto state = at::detail::getDefaultCPUGenerator().get_state();
  const auto copy = std::dynamic_pointer_cast<ViewModule>(
      create_fake_score(teacher, {.build = [] { return std::make_shared<ViewModule>(); }}));
  ASSERT_TRUE(copy);
  EXPECT_TRUE(torch::equal(copy->weight_t, teacher->weight_t));
  EXPECT_TRUE(copy->weight_t.is_alias_of(copy->weight));
  EXPECT_FALSE(copy->weight.is_alias_of(teacher->weight));
  EXPECT_TRUE(torch::equal(state, at::detail::getDefaultCPUGenerator().get_state()));
}

TEST(CreateFakeScore, ABuilderInitialisesNothingThatTheTeacherHas) {
  auto teacher = std::make_shared<torch::nn::Module>();
  constexpr int64_t kMany = 1 << 20;
  teacher->register_parameter("x", torch::ones({kMany}));
  // A replay would fail, for a constant that is too large to be copied changes before it.
  const auto build = [] {
    auto module = std::make_shared<torch::nn::Module>();
    auto source = torch::ones({kMany}, torch::kCPU);
    module->register_parameter("x", source * torch::full({kMany}, 2.));
    source.zero_();
    return module;
  };
  const auto copy = create_fake_score(teacher, {.build = build});
  EXPECT_TRUE(torch::equal(copy->named_parameters()["x"], torch::ones({kMany})));
}

TEST(CreateFakeScore, ABuiltCopyTakesTheTeachersLayoutWithItsTies) {
  auto teacher = std::make_shared<TiedModule>();
  const auto half = teacher->weight.detach().to(torch::kBFloat16);
  teacher->weight.set_data(half);
  teacher->named_parameters()["transposed"].set_data(half.t());
  const auto copy =
      create_fake_score(teacher, {.build = [] { return std::make_shared<TiedModule>(); }});
  expect_same_values(*teacher, *copy);
  const auto parameters = copy->named_parameters();
  EXPECT_TRUE(parameters["weight"].is_alias_of(parameters["transposed"]));
}

TEST(CreateFakeScore, CopiesOnlyTheBytesOfASlice) {
  auto teacher = std::make_shared<torch::nn::Module>();
  teacher->register_buffer("slice", torch::randn({1000}).slice(0, 10, 20));
  const auto copy = create_fake_score(teacher, {.build = [] {
                                        auto module = std::make_shared<torch::nn::Module>();
                                        module->register_buffer("slice", torch::empty({10}));
                                        return module;
                                      }});
  expect_same_values(*teacher, *copy);
  EXPECT_LE(copy->named_buffers()["slice"].storage().nbytes(), 20U * 4);
}

TEST(CreateFakeScore, KeepsLazyConjugatesAndNegatives) {
  auto teacher = std::make_shared<LazyModule>();
  auto copy = std::dynamic_pointer_cast<LazyModule>(create_fake_score(teacher));
  EXPECT_TRUE(torch::equal(copy->conj, teacher->conj));
  EXPECT_TRUE(torch::equal(copy->neg, teacher->neg));
  EXPECT_TRUE(copy->conj.is_alias_of(copy->freqs));
  const auto build = [] { return std::make_shared<LazyModule>(); };
  copy = std::dynamic_pointer_cast<LazyModule>(create_fake_score(teacher, {.build = build}));
  EXPECT_TRUE(torch::equal(copy->conj, teacher->conj));
  EXPECT_TRUE(torch::equal(copy->neg, teacher->neg));
}

TEST(CreateFakeScore, CopiesTorchScriptModules) {
  torch::jit::Module teacher("teacher");
  const auto weight = torch::randn({3, 3});
  teacher.register_parameter("weight", weight, false);
  teacher.register_parameter("tied", weight, false);
  teacher.register_buffer("buffer", torch::ones(2));
  teacher.register_attribute("training", c10::BoolType::get(), false);
  torch::jit::Module copy = create_fake_score(teacher);
  EXPECT_TRUE(bit_equal(copy.attr("weight").toTensor(), weight));
  EXPECT_FALSE(copy.attr("weight").toTensor().is_alias_of(weight));
  EXPECT_TRUE(copy.attr("weight").toTensor().is_alias_of(copy.attr("tied").toTensor()));
  EXPECT_TRUE(copy.attr("weight").toTensor().requires_grad());
  EXPECT_TRUE(copy.is_training());
  EXPECT_FALSE(teacher.is_training());
  EXPECT_FALSE(weight.requires_grad());
  EXPECT_EQ(create_fake_score(teacher, {.deep_copy = false})._ivalue(), teacher._ivalue());
}

TEST(TeacherSource, RefusesATensorOnAnotherDevice) {
  const c10::Device device(c10::DeviceType::PrivateUse1, 0);
  const at::Tensor elsewhere = at::detail::make_tensor<c10::TensorImpl>(
      c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), caffe2::TypeMeta::Make<float>(), device);
  EXPECT_THAT(error_of<TeacherError>([&] {
                TeacherSource::state_dict({{"weight", elsewhere}}).open();
              }),
              AllOf(HasSubstr("tensor weight"), HasSubstr("is on privateuseone:0")));
}

TEST(CreateFakeScoreMeta, RefusesOptionsThatCannotWork) {
  const auto teacher = std::make_shared<PlainModule>();
  const auto build = [] { return std::make_shared<PlainModule>(); };
  const auto single = make_local_communicators(1);
  const auto expect_refused = [&](const MetaOptions& options, const std::string& name) {
    EXPECT_THAT(error_of<ConfigError>([&] {
                  create_fake_score_meta(build, module_source(teacher), *single[0], options);
                }),
                HasSubstr("option " + name));
    EXPECT_THAT(
        error_of<ConfigError>([&] { create_fake_score_meta(teacher, *single[0], options); }),
        HasSubstr("option " + name));
  };
  MetaOptions options;
  options.dtype = torch::kInt;
  expect_refused(options, "dtype");
  options.dtype = torch::kComplexFloat;
  expect_refused(options, "dtype");
  options = {};
  options.timeout = std::chrono::milliseconds(0);
  expect_refused(options, "timeout");
  options.timeout = std::chrono::milliseconds(-5);
  expect_refused(options, "timeout");
}

TEST(CreateFakeScoreMeta, WithoutABuilderCopiesInOneProcessOnly) {
  auto teacher = std::make_shared<PlainModule>();
  const auto single = make_local_communicators(1);
  const MetaResult result = create_fake_score_meta(teacher, *single[0]);
  EXPECT_TRUE(result.report.deep_copy);
  expect_same_values(*teacher, *result.module);
  MetaOptions options;
  options.dtype = torch::kBFloat16;
  options.verify = true;
  const MetaResult cast = create_fake_score_meta(teacher, *single[0], options);
  EXPECT_TRUE(cast.report.digest);
  EXPECT_EQ(cast.module->parameters()[0].scalar_type(), torch::kBFloat16);
  const auto pair = make_local_communicators(2);
  try {
    create_fake_score_meta(teacher, *pair[0]);
    FAIL() << "no error";
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("TeacherSource"));
  }
}

}  // namespace
}  // namespace fakescore
