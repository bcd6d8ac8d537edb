// Which values the tensors of a fake score get, whatever they are and wherever they come from.
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
#include "support/lazy_module.hpp"
#include "support/load_teacher.hpp"
#include "support/rank_environment.hpp"
#include "support/root_teacher.hpp"
#include "support/seeded_modules.hpp"
#include "support/tensor_checks.hpp"

namespace fakescore {
namespace {

using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;
using testing::LazyModule;
using testing::run_on_every_rank;

/// None goes on to a meta job, which may seed the default generator, while another one draws here.
std::shared_ptr<LazyModule> make_teacher(Communicator& communicator) {
  auto module = testing::make_seeded<LazyModule>(31);
  communicator.all_gather("", "teachers made");
  return module;
}

TEST(FakeScoreValues, KeepsLazyConjugatesAndNegatives) {
  run_on_every_rank([](Communicator& communicator) {
    const auto teacher = make_teacher(communicator);
    for (const bool all : {true, false}) {
      MetaOptions options;
      options.verify = true;
      options.strict = all;
      const auto source =
          all ? module_source(teacher)
              : TeacherSource::state_dict({{"conj", teacher->conj}, {"neg", teacher->neg}});
      const auto module = std::dynamic_pointer_cast<LazyModule>(
          create_fake_score_meta([] { return std::make_shared<LazyModule>(); }, source,
                                 communicator, options)
              .module);
      ASSERT_TRUE(module);
      EXPECT_TRUE(torch::equal(module->freqs, teacher->freqs));
      EXPECT_TRUE(torch::equal(module->conj, teacher->conj));
      EXPECT_TRUE(torch::equal(module->member, teacher->member));
      EXPECT_TRUE(torch::equal(module->neg, teacher->neg));
      EXPECT_TRUE(module->conj.is_alias_of(module->freqs));
    }
  });
}

/// Strided, tied and expanded tensors among them: what arrives is their values.
TEST(FakeScoreValues, ATorchFileIsATeacher) {
  run_on_every_rank([](Communicator& communicator) {
    for (const std::string file : {"layouts.pt", "parameters.pt", "scripted.jit"}) {
      const auto path = std::filesystem::path(FAKESCORE_TEST_DATA) / "torch" / file;
      const auto source = testing::only_on_root(communicator, TeacherSource::path(path));
      const auto entries = broadcast_teacher_tensors(source, communicator);
      MetaOptions options;
      options.verify = true;
      const auto module = create_fake_score_meta([&] { return build_checkpoint_module(entries); },
                                                 source, communicator, options)
                              .module;
      const auto want = testing::read_tensors(path);
      const auto got = module_tensors(*module);
      ASSERT_EQ(got.size(), want.size()) << file;
      for (const NamedTensor& entry : got) {
        EXPECT_TRUE(testing::bit_equal(entry.tensor, want.at(entry.name).contiguous()))
            << file << " " << entry.name;
      }
    }
  });
}

std::shared_ptr<torch::nn::Module> build_unset() {
  auto module = std::make_shared<torch::nn::Module>();
  module->register_buffer("given", torch::empty({64}));
  module->register_buffer("empty", torch::empty({5000}));
  module->register_buffer("like", torch::empty_like(torch::ones({5000})));
  module->register_buffer("strided", torch::empty_strided({50, 100}, {1, 50}));
  module->register_buffer("fresh", torch::ones({3}).new_empty({5000}));
  module->register_buffer("grown", torch::zeros({3}).resize_({5000}));
  module->register_buffer("half_set", torch::empty({2, 3000}));
  module->named_buffers()["half_set"][1].zero_();
  return module;
}

TEST(FakeScoreValues, WhatABuilderLeavesUnsetIsZero) {
  run_on_every_rank([](Communicator& communicator) {
    // Memory that was used before, and is handed out again.
    for (int i = 0; i < 50; ++i) torch::full({5000}, 7);
    MetaOptions options;
    options.strict = false;
    const auto module = create_fake_score_meta(
                            build_unset, TeacherSource::state_dict({{"given", torch::ones({64})}}),
                            communicator, options)
                            .module;
    for (const auto& buffer : module->named_buffers()) {
      const float want = buffer.key() == "given" ? 1 : 0;
      EXPECT_TRUE((buffer.value() == want).all().item<bool>()) << buffer.key();
    }
  });
}

TEST(FakeScoreValues, ContradictoryViewsAreRefused) {
  run_on_every_rank([](Communicator& communicator) {
    auto build = [] {
      auto module = std::make_shared<torch::nn::Module>();
      const auto flat = module->register_buffer("flat", torch::zeros({6}));
      module->register_buffer("rows", flat.view({2, 3}));
      return module;
    };
    const auto flat = torch::arange(6.);
    const auto source = [&](const at::Tensor& rows) {
      return TeacherSource::state_dict({{"flat", flat}, {"rows", rows}});
    };
    const auto module =
        create_fake_score_meta(build, source(flat.view({2, 3})), communicator).module;
    EXPECT_TRUE(torch::equal(module->named_buffers()["rows"], flat.view({2, 3})));
    EXPECT_THAT(error_of<TeacherError>([&] {
                  create_fake_score_meta(build, source(torch::ones({2, 3})), communicator);
                }),
                AllOf(HasSubstr("flat"), HasSubstr("contradictory"), HasSubstr("rank 0 in move")));
  });
}

TEST(FakeScoreValues, FillsAnExpandedTensor) {
  run_on_every_rank([](Communicator& communicator) {
    auto build = [] {
      auto module = std::make_shared<torch::nn::Module>();
      module->register_buffer("positions", torch::zeros({1, 4}).expand({3, 4}));
      return module;
    };
    const auto positions = torch::arange(4.).expand({3, 4});
    const auto module =
        create_fake_score_meta(build, TeacherSource::state_dict({{"positions", positions}}),
                               communicator)
            .module;
    EXPECT_TRUE(torch::equal(module->named_buffers()["positions"], positions));
    const auto other = TeacherSource::state_dict({{"positions", torch::arange(12.).view({3, 4})}});
    EXPECT_THAT(error_of<TeacherError>([&] { create_fake_score_meta(build, other, communicator); }),
                AllOf(HasSubstr("positions"), HasSubstr("contradictory")));
  });
}

TEST(FakeScoreValues, AParameterThatIsABufferElsewhereRequiresGradients) {
  run_on_every_rank([](Communicator& communicator) {
    auto build = [] {
      auto child = std::make_shared<torch::nn::Module>();
      const auto weight = child->register_parameter("weight", torch::ones({2}), false);
      auto module = std::make_shared<torch::nn::Module>();
      module->register_buffer("cache", weight);
      module->register_module("child", child);
      return module;
    };
    const auto module = create_fake_score_meta(build, module_source(build()), communicator).module;
    EXPECT_TRUE(module->named_parameters()["child.weight"].requires_grad());
  });
}

struct WithPlainView : torch::nn::Module {
  WithPlainView() {
    weight = register_parameter("weight", torch::zeros({4, 3}));
    first_rows = weight.detach().narrow(0, 0, 2);
  }
  torch::Tensor weight;
  torch::Tensor first_rows;  ///< not registered
};

TEST(FakeScoreValues, APlainViewOfAParameterIsCastWithIt) {
  run_on_every_rank([](Communicator& communicator) {
    MetaOptions options;
    options.dtype = torch::kBFloat16;
    const auto weight = torch::arange(12.).view({4, 3});
    const auto module = std::dynamic_pointer_cast<WithPlainView>(
        create_fake_score_meta([] { return std::make_shared<WithPlainView>(); },
                               TeacherSource::state_dict({{"weight", weight}}), communicator,
                               options)
            .module);
    ASSERT_TRUE(module);
    EXPECT_TRUE(module->first_rows.is_alias_of(module->weight));
    EXPECT_TRUE(torch::equal(module->first_rows, weight.narrow(0, 0, 2).to(torch::kBFloat16)));
  });
}

TEST(FakeScoreValues, CastsALoneNegative) {
  run_on_every_rank([](Communicator& communicator) {
    const auto build = [] {
      auto module = std::make_shared<torch::nn::Module>();
      const auto z = torch::polar(torch::ones(4), torch::arange(4.));
      module->register_buffer("neg", torch::imag(z.conj()));
      return module;
    };
    const auto neg = build()->named_buffers()["neg"].resolve_neg();
    for (const auto dtype : {torch::kBFloat16, torch::kHalf}) {
      MetaOptions options;
      options.dtype = dtype;
      const auto source = TeacherSource::state_dict({{"neg", neg}});
      const auto module = create_fake_score_meta(build, source, communicator, options).module;
      EXPECT_TRUE(torch::equal(module->named_buffers()["neg"], neg.to(dtype))) << dtype;
    }
  });
}

TEST(FakeScoreValues, TakesOneElementOfAnyStride) {
  run_on_every_rank([](Communicator& communicator) {
    const auto strided = torch::arange(4.).as_strided({1}, {2}, 1);
    for (const bool own_stride : {false, true}) {
      const auto build = [own_stride] {
        auto module = std::make_shared<torch::nn::Module>();
        const auto single = torch::zeros({4});
        module->register_buffer(
            "single", own_stride ? single.as_strided({1}, {2}, 1) : single.narrow(0, 0, 1));
        return module;
      };
      const auto source = TeacherSource::state_dict({{"single", strided}});
      const auto module = create_fake_score_meta(build, source, communicator).module;
      EXPECT_EQ(module->named_buffers()["single"].item<float>(), 1);
    }
  });
}

TEST(FakeScoreValues, ARealViewOfAComplexTensorIsWidenedAsReal) {
  run_on_every_rank([](Communicator& communicator) {
    const auto build = [] {
      auto module = std::make_shared<torch::nn::Module>();
      const auto z = module->register_buffer("z", torch::zeros({3}, torch::kComplexDouble));
      module->register_buffer("parts", torch::view_as_real(z));
      return module;
    };
    const auto parts = torch::arange(6.).view({3, 2});
    const auto source = TeacherSource::state_dict({{"parts", parts}});
    const auto module = create_fake_score_meta(build, source, communicator).module;
    EXPECT_TRUE(torch::equal(module->named_buffers()["parts"], parts.to(torch::kDouble)));
    EXPECT_TRUE(module->named_buffers()["z"].is_alias_of(module->named_buffers()["parts"]));
  });
}

TEST(FakeScoreValues, BitsThatAreReadInTwoDtypesAreCastEachByItself) {
  run_on_every_rank([](Communicator& communicator) {
    const auto build = [] {
      auto module = std::make_shared<torch::nn::Module>();
      const auto half = module->register_buffer("half", torch::arange(1., 5.).to(torch::kHalf));
      module->register_buffer("bfloat16", half.view(torch::kBFloat16));
      return module;
    };
    MetaOptions options;
    options.dtype = torch::kFloat;
    const auto teacher = build();
    const auto module =
        create_fake_score_meta(build, module_source(teacher), communicator, options).module;
    for (const char* name : {"half", "bfloat16"}) {
      EXPECT_TRUE(torch::equal(module->named_buffers()[name],
                               teacher->named_buffers()[name].to(torch::kFloat)))
          << name;
    }
  });
}

TEST(FakeScoreValues, AReplayThatFailsNamesOpAndTensor) {
  run_on_every_rank([](Communicator& communicator) {
    auto build = [] {
      auto module = std::make_shared<torch::nn::Module>();
      module->register_buffer("inverse", torch::inverse(torch::zeros({3, 3})));
      return module;
    };
    MetaOptions options;
    options.strict = false;
    EXPECT_THAT(error_of<BuildError>([&] {
                  create_fake_score_meta(build,
                                         TeacherSource::state_dict({{"other", torch::ones(1)}}),
                                         communicator, options);
                }),
                AllOf(HasSubstr("rank 0 in replay: aten::"), HasSubstr("wanted for inverse")));
  });
}

TEST(FakeScoreValues, CastsNegativesAndWhatTheyShareStorageWith) {
  run_on_every_rank([](Communicator& communicator) {
    auto build = [] {
      auto module = std::make_shared<torch::nn::Module>();
      const auto z = torch::polar(torch::ones(4), torch::arange(4.));
      module->register_buffer("neg", torch::imag(z.conj()));
      module->register_buffer("real", torch::real(z));
      return module;
    };
    const auto teacher = build();
    MetaOptions options;
    options.dtype = torch::kBFloat16;
    const auto module =
        create_fake_score_meta(build, module_source(teacher), communicator, options).module;
    for (const char* name : {"neg", "real"}) {
      EXPECT_TRUE(torch::equal(module->named_buffers()[name],
                               teacher->named_buffers()[name].to(torch::kBFloat16)))
          << name;
    }
  });
}

}  // namespace
}  // namespace fakescore
