#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "fakescore/comm/make_communicator.hpp"
#include "fakescore/error.hpp"
#include "fakescore/fill/broadcast_teacher_tensors.hpp"
#include "fakescore/models/registry.hpp"
#include "fakescore/module/create_fake_score_meta.hpp"
#include "fakescore/module/module_tensors.hpp"
#include "gpu/gpu_environment.hpp"
#include "support/error_of.hpp"
#include "support/rank_environment.hpp"
#include "support/root_teacher.hpp"
#include "support/seeded_modules.hpp"
#include "support/tensor_checks.hpp"
#include "support/tiny_models.hpp"

namespace fakescore {
namespace {

using testing::AwkwardModule;
using testing::bit_equal;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::NamedTensors;
using testing::only_on_root;
using testing::persistent_tensors;
using testing::rank_device;
using testing::run_on_every_rank;

const std::filesystem::path kData = FAKESCORE_TEST_DATA;

std::shared_ptr<AwkwardModule> make_teacher() { return testing::make_seeded<AwkwardModule>(11); }

std::shared_ptr<torch::nn::Module> build_awkward() { return std::make_shared<AwkwardModule>(); }

/// Small buckets and little pinned memory, so that every ring turns many times.
MetaOptions tight_options() {
  MetaOptions options;
  options.verify = true;
  options.bucket_bytes = 200'000;
  options.pinned_bytes = 128 << 10;
  return options;
}

void expect_on_gpu(const torch::nn::Module& expected, const torch::nn::Module& actual) {
  testing::expect_values(expected, actual);
  const auto want = module_tensors(expected);
  const auto got = module_tensors(actual);
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_EQ(got[i].tensor.device(), rank_device()) << want[i].name;
    EXPECT_EQ(got[i].tensor.strides(), want[i].tensor.strides()) << want[i].name;
  }
}

TEST(FakeScoreOnGpu, EveryTensorIsTheTeachersOnEveryRank) {
  run_on_every_rank([](Communicator& communicator) {
    const auto teacher = make_teacher();
    const MetaResult result = create_fake_score_meta(
        build_awkward, only_on_root(communicator, persistent_tensors(*teacher)), communicator,
        tight_options());
    const auto module = std::dynamic_pointer_cast<AwkwardModule>(result.module);
    ASSERT_TRUE(module);
    expect_on_gpu(*teacher, *module);
    EXPECT_TRUE(bit_equal(module->hidden.cpu(), teacher->hidden));
    EXPECT_EQ(module->named_parameters()["tied"].unsafeGetTensorImpl(),
              module->weight.unsafeGetTensorImpl());
    EXPECT_TRUE(module->named_buffers()["column"].is_alias_of(module->flat));
    EXPECT_TRUE(module->weight.requires_grad() && module->weight.is_leaf());
    EXPECT_THAT(result.report.replayed, ElementsAre("angles", "(unregistered 0)"));
    EXPECT_THAT(result.report.backend, HasSubstr("nccl"));
    EXPECT_EQ(result.report.peak_device_bytes.size(),
              static_cast<size_t>(communicator.world_size()));
  });
}

TEST(FakeScoreOnGpu, CudaAloneIsTheCommunicatorsGpu) {
  run_on_every_rank([](Communicator& communicator) {
    const auto teacher = make_teacher();
    MetaOptions options = tight_options();
    options.device = at::Device(at::kCUDA);
    const auto source = only_on_root(communicator, persistent_tensors(*teacher));
    expect_on_gpu(*teacher,
                  *create_fake_score_meta(build_awkward, source, communicator, options).module);

    const auto host = make_communicator(detect_launch_env(), std::chrono::seconds(60));
    EXPECT_THAT(testing::error_of<ConfigError>(
                    [&] { create_fake_score_meta(build_awkward, source, *host, options); }),
                HasSubstr("device cuda: has no index"));
  });
}

TEST(FakeScoreOnGpu, CanBeTrained) {
  run_on_every_rank([](Communicator& communicator) {
    const auto teacher = std::make_shared<testing::PlainModule>();
    const MetaResult result = create_fake_score_meta(
        [] { return std::make_shared<testing::PlainModule>(); },
        only_on_root(communicator, persistent_tensors(*teacher)), communicator, tight_options());
    const auto module = std::dynamic_pointer_cast<testing::PlainModule>(result.module);
    const auto output = module->forward(torch::ones({2, 8}, torch::device(rank_device())));
    output.sum().backward();
    EXPECT_TRUE(module->first->weight.grad().defined());
    EXPECT_EQ(module->first->weight.grad().device(), rank_device());
  });
}

TEST(FakeScoreOnGpu, TravelsNarrowAndIsWidenedByEachRank) {
  run_on_every_rank([](Communicator& communicator) {
    NamedTensors tensors = persistent_tensors(*make_teacher());
    for (auto& entry : tensors) {
      if (entry.name == "big" || entry.name == "channels_last")
        entry.tensor = entry.tensor.to(torch::kBFloat16);
      if (entry.name == "half") entry.tensor = entry.tensor.to(torch::kFloat) + 1e-4;
    }
    const MetaResult result = create_fake_score_meta(
        build_awkward, only_on_root(communicator, tensors), communicator, tight_options());
    const auto parameters = result.module->named_parameters();
    for (const auto& entry : tensors) {
      if (entry.name != "big" && entry.name != "half" && entry.name != "channels_last") continue;
      const at::Tensor got = parameters[entry.name].detach().cpu();
      EXPECT_TRUE(torch::equal(got, entry.tensor.to(got.scalar_type()))) << entry.name;
    }
    EXPECT_LT(result.report.bytes, 300U * 1000 * 2 + 20'000);
  });
}

TEST(FakeScoreOnGpu, ATeacherOnTheGpuGivesTheSame) {
  run_on_every_rank([](Communicator& communicator) {
    const auto teacher = make_teacher();
    NamedTensors on_gpu;
    for (const auto& entry : persistent_tensors(*teacher)) {
      on_gpu.push_back({entry.name, entry.tensor.to(rank_device())});
    }
    const MetaResult result = create_fake_score_meta(
        build_awkward, only_on_root(communicator, on_gpu), communicator, tight_options());
    expect_on_gpu(*teacher, *result.module);
  });
}

TEST(FakeScoreOnGpu, MissingKeysAreInitialisedAlike) {
  run_on_every_rank([](Communicator& communicator) {
    NamedTensors some;
    for (auto& entry : persistent_tensors(*make_teacher())) {
      if (entry.name != "big" && entry.name != "half") some.push_back(entry);
    }
    MetaOptions options = tight_options();
    options.strict = false;
    const MetaResult result = create_fake_score_meta(
        build_awkward, only_on_root(communicator, some), communicator, options);
    EXPECT_THAT(result.report.missing, ElementsAre("half", "big"));
    const float spread = result.module->named_parameters()["big"].std().item<float>();
    EXPECT_GT(spread, 0.9F);
    EXPECT_LT(spread, 1.1F);
  });
}

TEST(FakeScoreOnGpu, CheckpointsArriveAsTheyAre) {
  for (const char* name : {"wan", "wan_sharded", "wan_bf16", "qwen_image", "flux", "unet2d"}) {
    run_on_every_rank([&](Communicator& communicator) {
      const auto source = communicator.rank() == 0 ? TeacherSource::path(kData / "models" / name)
                                                   : TeacherSource::path("/nonexistent");
      const auto tensors = broadcast_teacher_tensors(source, communicator);
      const MetaResult result = create_fake_score_meta(
          [&] { return build_checkpoint_module(tensors); }, source, communicator, tight_options());
      const auto teacher = TeacherSource::path(kData / "models" / name).open();
      std::map<std::string, at::Tensor> got;
      for (const auto& entry : module_tensors(*result.module)) got[entry.name] = entry.tensor;
      ASSERT_EQ(got.size(), teacher->tensors().size());
      for (size_t i = 0; i < teacher->tensors().size(); ++i) {
        const std::string& key = teacher->tensors()[i].name;
        EXPECT_TRUE(bit_equal(got.at(key).cpu(), teacher->read(i))) << name << " " << key;
      }
    });
  }
}

TEST(FakeScoreOnGpu, ADtypeOfTheModulesOwn) {
  run_on_every_rank([](Communicator& communicator) {
    const auto path = kData / "models" / "wan_bf16";
    const auto source =
        communicator.rank() == 0 ? TeacherSource::path(path) : TeacherSource::path("/nonexistent");
    const auto tensors = broadcast_teacher_tensors(source, communicator);
    MetaOptions options = tight_options();
    options.dtype = torch::kFloat;
    const MetaResult result = create_fake_score_meta(
        [&] { return build_checkpoint_module(tensors); }, source, communicator, options);
    const auto teacher = TeacherSource::path(path).open();
    const auto parameters = result.module->named_parameters();
    for (size_t i = 0; i < teacher->tensors().size(); ++i) {
      const at::Tensor* got = parameters.find(teacher->tensors()[i].name);
      if (got == nullptr) continue;
      EXPECT_TRUE(bit_equal(got->detach().cpu(), teacher->read(i).to(torch::kFloat)));
    }
  });
}

TEST(FakeScoreOnGpu, ARootThatCannotReadIsTheSameErrorEverywhere) {
  run_on_every_rank([](Communicator& communicator) {
    const std::string text = testing::error_of<TeacherError>([&] {
      create_fake_score_meta(build_awkward, TeacherSource::path("/nonexistent/teacher"),
                             communicator, {});
    });
    EXPECT_THAT(text, HasSubstr("/nonexistent/teacher"));
    for (const auto& other : communicator.all_gather(text, "test")) EXPECT_EQ(other, text);
  });
}

}  // namespace
}  // namespace fakescore
