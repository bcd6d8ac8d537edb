#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "fakescore/error.hpp"
#include "fakescore/fill/broadcast_teacher_tensors.hpp"
#include "fakescore/models/registry.hpp"
#include "fakescore/module/create_fake_score_meta.hpp"
#include "fakescore/module/module_source.hpp"
#include "fakescore/module/module_tensors.hpp"
#include "support/error_of.hpp"
#include "support/load_teacher.hpp"
#include "support/rank_environment.hpp"
#include "support/root_teacher.hpp"
#include "support/seeded_modules.hpp"
#include "support/temp_folder.hpp"
#include "support/tensor_checks.hpp"
#include "support/tiny_models.hpp"

namespace fakescore {
namespace {

using ::testing::AllOf;
using testing::AwkwardModule;
using testing::bit_equal;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using testing::NamedTensors;
using testing::only_on_root;
using testing::persistent_tensors;
using testing::run_on_every_rank;
using testing::TempFolder;
using testing::unrelated_teacher;

const std::filesystem::path kData = FAKESCORE_TEST_DATA;

std::shared_ptr<AwkwardModule> make_teacher() { return testing::make_seeded<AwkwardModule>(11); }

std::shared_ptr<torch::nn::Module> build_awkward() { return std::make_shared<AwkwardModule>(); }

void expect_same_on_every_rank(Communicator& communicator, const std::string& text) {
  for (const auto& other : communicator.all_gather(text, "test")) {
    EXPECT_EQ(other, text);
  }
}

TEST(FakeScoreMeta, EveryTensorIsTheTeachersOnEveryRank) {
  run_on_every_rank([](Communicator& communicator) {
    const auto teacher = make_teacher();
    MetaOptions options;
    options.verify = true;
    const MetaResult result = create_fake_score_meta(
        build_awkward, only_on_root(communicator, persistent_tensors(*teacher)), communicator,
        options);
    const auto module = std::dynamic_pointer_cast<AwkwardModule>(result.module);
    ASSERT_TRUE(module);
    const auto want = module_tensors(*teacher);
    const auto got = module_tensors(*module);
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_TRUE(bit_equal(want[i].tensor, got[i].tensor)) << want[i].name;
      if (want[i].kind == TensorKind::kParameter) {
        EXPECT_TRUE(got[i].tensor.requires_grad()) << want[i].name;
        EXPECT_TRUE(got[i].tensor.is_leaf()) << want[i].name;
      }
    }
    // The module's own members are the registered tensors; the plain one is real as well.
    EXPECT_TRUE(bit_equal(module->weight, teacher->weight));
    EXPECT_TRUE(bit_equal(module->hidden, teacher->hidden));
    EXPECT_EQ(module->named_parameters()["tied"].unsafeGetTensorImpl(),
              module->weight.unsafeGetTensorImpl());
    EXPECT_TRUE(module->named_buffers()["column"].is_alias_of(module->flat));
    EXPECT_TRUE(module->is_training());
    EXPECT_THAT(result.report.replayed, ElementsAre("angles", "(unregistered 0)"));
    EXPECT_THAT(result.report.missing, ElementsAre());
    EXPECT_EQ(result.report.peak_host_bytes.size(), static_cast<size_t>(communicator.world_size()));
    ASSERT_TRUE(result.report.digest);
    expect_same_on_every_rank(communicator, to_string(*result.report.digest));
  });
}

TEST(FakeScoreMeta, MissingKeysAreInitialisedAlikeWhereNotStrict) {
  run_on_every_rank([](Communicator& communicator) {
    NamedTensors some;
    for (auto& entry : persistent_tensors(*make_teacher())) {
      if (entry.name != "big" && entry.name != "half" && entry.name != "flat" &&
          entry.name != "rows") {
        some.push_back(entry);
      }
    }
    some.push_back({"ghost", torch::ones(1)});
    MetaOptions options;
    EXPECT_THAT(error_of<TeacherError>([&] {
                  create_fake_score_meta(build_awkward, only_on_root(communicator, some),
                                         communicator, options);
                }),
                AllOf(HasSubstr("4 missing"), HasSubstr("1 unexpected (ghost)"),
                      HasSubstr("rank 0 in plan")));
    options.strict = false;
    options.verify = true;
    options.init.seed = 42;
    const MetaResult result = create_fake_score_meta(
        build_awkward, only_on_root(communicator, some), communicator, options);
    EXPECT_THAT(result.report.missing, ElementsAre("half", "big", "flat", "rows"));
    EXPECT_THAT(result.report.unexpected, ElementsAre("ghost"));
    const auto module = std::dynamic_pointer_cast<AwkwardModule>(result.module);
    EXPECT_TRUE(
        bit_equal(module->named_buffers()["column"], make_teacher()->named_buffers()["column"]));
    EXPECT_GT(module->big.std().item<float>(), 0.9F);
    EXPECT_LT(module->big.std().item<float>(), 1.1F);
    expect_same_on_every_rank(communicator, to_string(*result.report.digest));
  });
}

TEST(FakeScoreMeta, CastsBetweenTeacherAndModule) {
  run_on_every_rank([](Communicator& communicator) {
    NamedTensors tensors = persistent_tensors(*make_teacher());
    for (auto& entry : tensors) {
      if (entry.name == "big" || entry.name == "channels_last")
        entry.tensor = entry.tensor.to(torch::kBFloat16);
      if (entry.name == "half") entry.tensor = entry.tensor.to(torch::kFloat) + 1e-4;
    }
    const MetaResult result = create_fake_score_meta(
        build_awkward, only_on_root(communicator, tensors), communicator, {});
    const auto module = std::dynamic_pointer_cast<AwkwardModule>(result.module);
    for (const auto& entry : tensors) {
      if (entry.name == "big") {
        EXPECT_TRUE(bit_equal(module->big.detach(), entry.tensor.to(torch::kFloat)));
      }
      if (entry.name == "half") {
        EXPECT_TRUE(bit_equal(module->half.detach(), entry.tensor.to(torch::kBFloat16)));
      }
      if (entry.name == "channels_last") {
        EXPECT_TRUE(torch::equal(module->channels_last.detach(), entry.tensor.to(torch::kFloat)));
      }
    }
    EXPECT_EQ(result.report.cast.size(), 3U);
    // "big" travelled in two bytes an element.
    EXPECT_LT(result.report.bytes, 300U * 1000 * 2 + 20'000);
  });
}

TEST(FakeScoreMeta, DtypeCastsFloatingTensorsAndKeepsTies) {
  run_on_every_rank([](Communicator& communicator) {
    const auto teacher = make_teacher();
    MetaOptions options;
    options.dtype = torch::kHalf;
    const MetaResult result = create_fake_score_meta(
        build_awkward, only_on_root(communicator, persistent_tensors(*teacher)), communicator,
        options);
    const auto module = std::dynamic_pointer_cast<AwkwardModule>(result.module);
    EXPECT_EQ(module->weight.scalar_type(), torch::kHalf);
    EXPECT_EQ(module->angles.scalar_type(), torch::kHalf);
    EXPECT_EQ(module->steps.scalar_type(), torch::kLong);
    EXPECT_TRUE(torch::equal(module->weight.detach(), teacher->weight.detach().to(torch::kHalf)));
    EXPECT_TRUE(module->named_buffers()["column"].is_alias_of(module->flat));
    EXPECT_TRUE(torch::equal(module->angles, teacher->angles.to(torch::kHalf)));
  });
}

TEST(FakeScoreMeta, AnyRankCanBeTheRoot) {
  run_on_every_rank([](Communicator& communicator) {
    const auto teacher = make_teacher();
    MetaOptions options;
    options.root = communicator.world_size() - 1;
    options.bucket_bytes = 4096;
    const auto source = communicator.rank() == options.root ? module_source(teacher)
                                                            : TeacherSource::path("/nonexistent");
    const MetaResult result = create_fake_score_meta(build_awkward, source, communicator, options);
    EXPECT_TRUE(
        bit_equal(result.module->named_parameters()["big"].detach(), teacher->big.detach()));
  });
}

TEST(FakeScoreMeta, ARootThatCannotReadIsTheSameErrorEverywhere) {
  run_on_every_rank([](Communicator& communicator) {
    const std::string text = error_of<TeacherError>([&] {
      create_fake_score_meta(build_awkward, TeacherSource::path("/nonexistent/teacher"),
                             communicator, {});
    });
    EXPECT_THAT(text, AllOf(HasSubstr("/nonexistent/teacher"), HasSubstr("rank 0 in plan")));
    expect_same_on_every_rank(communicator, text);
  });
}

TEST(FakeScoreMeta, AShapeThatDiffersNamesTheTensor) {
  run_on_every_rank([](Communicator& communicator) {
    NamedTensors tensors = persistent_tensors(*make_teacher());
    for (auto& entry : tensors) {
      if (entry.name == "big") entry.tensor = torch::zeros({2, 2});
    }
    const std::string text = error_of<TeacherError>([&] {
      create_fake_score_meta(build_awkward, only_on_root(communicator, tensors), communicator, {});
    });
    EXPECT_THAT(text, AllOf(HasSubstr("big"), HasSubstr("[2, 2]"), HasSubstr("[300, 1000]")));
    expect_same_on_every_rank(communicator, text);
  });
}

TEST(FakeScoreMeta, TiedNamesWithDifferentValuesAreRefused) {
  run_on_every_rank([](Communicator& communicator) {
    NamedTensors tensors = persistent_tensors(*make_teacher());
    for (auto& entry : tensors) {
      if (entry.name == "tied") entry.tensor = entry.tensor + 1;
    }
    const std::string text = error_of<TeacherError>([&] {
      create_fake_score_meta(build_awkward, only_on_root(communicator, tensors), communicator, {});
    });
    EXPECT_THAT(text, AllOf(HasSubstr("tied"), HasSubstr("weight")));
    MetaOptions narrower;
    narrower.dtype = torch::kBFloat16;
    EXPECT_THROW(create_fake_score_meta(build_awkward, only_on_root(communicator, tensors),
                                        communicator, narrower),
                 TeacherError);
  });
}

TEST(FakeScoreMeta, ABuilderThatThrowsOnOneRankStopsAll) {
  run_on_every_rank([](Communicator& communicator) {
    const int bad = communicator.world_size() - 1;
    const std::string text = error_of<BuildError>([&] {
      create_fake_score_meta(
          [&]() -> std::shared_ptr<torch::nn::Module> {
            if (communicator.rank() == bad) throw std::runtime_error("no such layer");
            return build_awkward();
          },
          TeacherSource::path("/nonexistent"), communicator, {});
    });
    EXPECT_THAT(text, AllOf(HasSubstr("no such layer"),
                            HasSubstr("rank " + std::to_string(bad) + " in build")));
    expect_same_on_every_rank(communicator, text);
    EXPECT_THAT(error_of<BuildError>([&] {
                  create_fake_score_meta([] { return std::shared_ptr<torch::nn::Module>(); },
                                         TeacherSource::path("/nonexistent"), communicator, {});
                }),
                HasSubstr("no module"));
  });
}

TEST(FakeScoreMeta, BuildersThatDifferAreRefusedBeforeAnyByteMoves) {
  run_on_every_rank([](Communicator& communicator) {
    if (communicator.world_size() == 1) GTEST_SKIP() << "needs a second rank";
    auto build = [&]() -> std::shared_ptr<torch::nn::Module> {
      auto module = std::make_shared<torch::nn::Module>();
      module->register_parameter(
          "x", torch::randn({4, communicator.rank() == 1 ? int64_t{5} : int64_t{4}}));
      return module;
    };
    const std::string text = error_of<MismatchError>([&] {
      create_fake_score_meta(build, TeacherSource::path("/nonexistent"), communicator, {});
    });
    EXPECT_THAT(text,
                AllOf(HasSubstr("rank 1 has parameter x Float[4, 5]"), HasSubstr("Float[4, 4]")));
    expect_same_on_every_rank(communicator, text);
  });
}

TEST(FakeScoreMeta, AModelBeyondMemoryIsTheSameErrorEverywhere) {
  run_on_every_rank([](Communicator& communicator) {
    constexpr int64_t kSide = int64_t{1} << 24;  // 2^50 bytes
    auto build = []() -> std::shared_ptr<torch::nn::Module> {
      auto module = std::make_shared<torch::nn::Module>();
      module->register_parameter("huge", torch::zeros({kSide, kSide}));
      return module;
    };
    MetaOptions options;
    options.strict = false;
    const std::string text = error_of<MemoryError>([&] {
      create_fake_score_meta(build, unrelated_teacher(communicator), communicator, options);
    });
    EXPECT_THAT(text, AllOf(HasSubstr("huge"), HasSubstr("needs 1125899906842624 bytes"),
                            HasSubstr("are available")));
    expect_same_on_every_rank(communicator, text);
  });
}

TEST(FakeScoreMeta, AProgressCallbackThatThrowsOnOneRankIsTheSameErrorEverywhere) {
  run_on_every_rank([](Communicator& communicator) {
    const int odd = communicator.world_size() - 1;
    MetaOptions options;
    options.progress = [&](const Progress&) {
      if (communicator.rank() == odd) throw std::runtime_error("the display is gone");
    };
    const std::string text = error_of<Error>([&] {
      create_fake_score_meta(build_awkward,
                             only_on_root(communicator, persistent_tensors(*make_teacher())),
                             communicator, options);
    });
    EXPECT_THAT(text, HasSubstr("the display is gone"));
    expect_same_on_every_rank(communicator, text);
  });
}

TEST(FakeScoreMeta, ATimeoutIsTheCallsAlone) {
  run_on_every_rank([](Communicator& communicator) {
    const auto before = communicator.timeout();
    MetaOptions options;
    options.timeout = std::chrono::minutes(7);
    const auto build = [&] {
      EXPECT_EQ(communicator.timeout(), std::chrono::minutes(7));
      return build_awkward();
    };
    const auto source = only_on_root(communicator, persistent_tensors(*make_teacher()));
    create_fake_score_meta(build, source, communicator, options);
    EXPECT_EQ(communicator.timeout(), before);
    EXPECT_THROW(
        create_fake_score_meta(build, TeacherSource::path("/nonexistent"), communicator, options),
        TeacherError);
    EXPECT_EQ(communicator.timeout(), before);
  });
}

TEST(FakeScoreMeta, AfterAnErrorTheNextCallSucceeds) {
  run_on_every_rank([](Communicator& communicator) {
    EXPECT_THROW(create_fake_score_meta(build_awkward, TeacherSource::path("/nonexistent"),
                                        communicator, {}),
                 TeacherError);
    EXPECT_FALSE(communicator.broken());
    const MetaResult result = create_fake_score_meta(
        build_awkward, only_on_root(communicator, persistent_tensors(*make_teacher())),
        communicator, {});
    EXPECT_TRUE(
        bit_equal(result.module->named_parameters()["big"].detach(), make_teacher()->big.detach()));
  });
}

TEST(FakeScoreMeta, UnregisteredClassesAreFilledByTheirCheckpointsNames) {
  for (const char* name : {"wan", "wan_sharded", "wan_bf16", "qwen_image", "flux", "unet2d"}) {
    run_on_every_rank([&](Communicator& communicator) {
      const auto source = communicator.rank() == 0 ? TeacherSource::path(kData / "models" / name)
                                                   : TeacherSource::path("/nonexistent");
      const auto tensors = broadcast_teacher_tensors(source, communicator);
      MetaOptions options;
      options.verify = true;
      const MetaResult result = create_fake_score_meta(
          [&] { return build_checkpoint_module(tensors); }, source, communicator, options);
      EXPECT_THAT(result.report.replayed, ElementsAre());
      EXPECT_THAT(result.report.cast, ElementsAre());
      const auto teacher = TeacherSource::path(kData / "models" / name).open();
      std::map<std::string, at::Tensor> got;
      for (const auto& entry : module_tensors(*result.module)) got[entry.name] = entry.tensor;
      ASSERT_EQ(got.size(), teacher->tensors().size());
      for (size_t i = 0; i < teacher->tensors().size(); ++i) {
        const std::string& key = teacher->tensors()[i].name;
        EXPECT_TRUE(bit_equal(got.at(key), teacher->read(i))) << name << " " << key;
      }
    });
  }
}

TEST(FakeScoreMeta, ADistributedCheckpointIsATeacher) {
  run_on_every_rank([](Communicator& communicator) {
    // Two ranks of FSDP2 saved it, in FastGen's layout: a transformer within its network.
    const auto folder = kData / "dcp" / "0000003.net_model";
    TeacherPathOptions below;
    below.key = "transformer";
    const auto source = only_on_root(communicator, TeacherSource::path(folder, below));
    MetaOptions options;
    options.verify = true;
    const MetaResult result = create_fake_score_meta(
        [] { return std::make_shared<testing::PlainModule>(7); }, source, communicator, options);
    EXPECT_THAT(result.report.replayed, ElementsAre());
    const auto whole = testing::read_tensors(kData / "dcp" / "0000003.net_model.safetensors");
    const auto tensors = module_tensors(*result.module);
    EXPECT_EQ(tensors.size(), 5U);
    for (const NamedTensor& entry : tensors) {
      EXPECT_TRUE(bit_equal(entry.tensor, whole.at("transformer." + entry.name))) << entry.name;
    }
    expect_same_on_every_rank(communicator, to_string(*result.report.digest));
  });
}

}  // namespace
}  // namespace fakescore
