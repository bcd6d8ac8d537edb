#include "fakescore/module/sync_module_states.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "fakescore/error.hpp"
#include "fakescore/module/module_tensors.hpp"
#include "support/error_of.hpp"
#include "support/lazy_module.hpp"
#include "support/rank_environment.hpp"
#include "support/seeded_modules.hpp"
#include "support/tensor_checks.hpp"
#include "support/tiny_models.hpp"

namespace fakescore {
namespace {

using ::testing::AllOf;
using testing::AwkwardModule;
using testing::bit_equal;
using testing::error_of;
using testing::expect_values;
using ::testing::HasSubstr;
using testing::LazyModule;
using testing::make_seeded;
using testing::run_on_every_rank;

TEST(SyncModuleStates, GivesEveryRankTheRootsBits) {
  run_on_every_rank([](Communicator& communicator) {
    for (int root = 0; root < communicator.world_size(); ++root) {
      for (const size_t bucket_bytes : {size_t{4096}, size_t{100'000}, size_t{1} << 20}) {
        const auto module = make_seeded<AwkwardModule>(100 + communicator.rank());
        SyncOptions options;
        options.root = root;
        options.bucket_bytes = bucket_bytes;
        options.verify = true;
        const SyncReport report = sync_module_states(*module, communicator, options);
        expect_values(*make_seeded<AwkwardModule>(100 + root), *module);
        EXPECT_TRUE(report.digest);
        EXPECT_TRUE(module->named_parameters()["tied"].is_alias_of(module->weight));
      }
    }
  });
}

TEST(SyncModuleStates, MovesSharedBytesOnce) {
  run_on_every_rank([](Communicator& communicator) {
    const auto module = make_seeded<AwkwardModule>(1);
    uint64_t unique = 0;
    for (const auto& tensor :
         {module->weight, module->half, module->channels_last, module->big, module->scale,
          module->flat, module->steps, module->mask, module->angles}) {
      unique += tensor.nbytes();
    }
    const SyncReport report = sync_module_states(*module, communicator);
    EXPECT_EQ(report.bytes, unique);
  });
}

TEST(SyncModuleStates, LeavesTheGapsOfAViewAlone) {
  run_on_every_rank([](Communicator& communicator) {
    const float own = 1.0F + static_cast<float>(communicator.rank());
    auto storage = torch::full({8, 8}, own);
    torch::nn::Module module;
    module.register_buffer("columns", storage.slice(1, 0, 3));
    sync_module_states(module, communicator);
    EXPECT_TRUE(torch::equal(storage.slice(1, 0, 3), torch::ones({8, 3})));
    EXPECT_TRUE(torch::equal(storage.slice(1, 3, 8), torch::full({8, 5}, own)));
  });
}

TEST(SyncModuleStates, KeepsLazyConjugatesAndNegatives) {
  run_on_every_rank([](Communicator& communicator) {
    const auto module = make_seeded<LazyModule>(20 + communicator.rank());
    sync_module_states(*module, communicator);
    const auto want = make_seeded<LazyModule>(20);
    EXPECT_TRUE(torch::equal(module->freqs, want->freqs));
    EXPECT_TRUE(torch::equal(module->conj, want->conj));
    EXPECT_TRUE(torch::equal(module->neg, want->neg));
    if (communicator.world_size() == 1) return;
    torch::nn::Module reads_otherwise;
    reads_otherwise.register_buffer("z", communicator.rank() == 1 ? want->conj : want->freqs);
    EXPECT_THAT(error_of<MismatchError>([&] { sync_module_states(reads_otherwise, communicator); }),
                HasSubstr("conjugated"));
  });
}

TEST(SyncModuleStates, ReportsProgressToTheEnd) {
  run_on_every_rank([](Communicator& communicator) {
    const auto module = make_seeded<AwkwardModule>(1);
    SyncOptions options;
    options.bucket_bytes = 65536;
    std::vector<Progress> seen;
    options.progress = [&](const Progress& progress) { seen.push_back(progress); };
    const SyncReport report = sync_module_states(*module, communicator, options);
    ASSERT_FALSE(seen.empty());
    EXPECT_EQ(seen.back().done_bytes, report.bytes);
    EXPECT_EQ(seen.back().total_bytes, report.bytes);
  });
}

TEST(SyncModuleStates, AProgressCallbackThatThrowsOnOneRankIsTheSameErrorOnEveryRank) {
  run_on_every_rank([](Communicator& communicator) {
    const int odd = communicator.world_size() - 1;
    const auto module = make_seeded<AwkwardModule>(1);
    SyncOptions options;
    options.bucket_bytes = 65536;
    options.progress = [&](const Progress&) {
      if (communicator.rank() == odd) throw std::runtime_error("the display is gone");
    };
    const std::string text =
        error_of<Error>([&] { sync_module_states(*module, communicator, options); });
    EXPECT_THAT(text, HasSubstr("the display is gone"));
    for (const auto& other : communicator.all_gather(text, "test")) EXPECT_EQ(other, text);
    EXPECT_FALSE(communicator.broken());
  });
}

TEST(SyncModuleStates, VerifyingNamesRankAndTensorOfTheFirstDifference) {
  run_on_every_rank([](Communicator& communicator) {
    if (communicator.world_size() == 1) GTEST_SKIP() << "needs a second rank";
    const int odd = communicator.world_size() - 1;
    const auto module = make_seeded<AwkwardModule>(1);
    const NamedTensor first = module_tensors(*module).front();
    SyncOptions options;
    options.bucket_bytes = 65536;
    options.verify = true;
    options.progress = [&](const Progress& progress) {
      if (communicator.rank() != odd || progress.done_bytes < progress.total_bytes) return;
      torch::NoGradGuard no_grad;
      first.tensor.fill_(12345);
    };
    const std::string text =
        error_of<MismatchError>([&] { sync_module_states(*module, communicator, options); });
    EXPECT_THAT(text, AllOf(HasSubstr(first.name), HasSubstr("rank " + std::to_string(odd)),
                            HasSubstr("bytes differ")));
    for (const auto& other : communicator.all_gather(text, "test")) EXPECT_EQ(other, text);
    EXPECT_FALSE(communicator.broken());
  });
}

TEST(SyncModuleStates, NamesMayHoldAnyBytes) {
  run_on_every_rank([](Communicator& communicator) {
    const std::string odd = "odd\x1fname \xff\xfe";
    const std::string odd_and_long = odd + std::string(500, 'x');
    const float own = static_cast<float>(communicator.rank());
    torch::nn::Module module;
    module.register_buffer(odd, torch::full({3}, own));
    module.register_buffer(odd_and_long, torch::full({100'000}, own));
    SyncOptions options;
    options.verify = true;
    sync_module_states(module, communicator, options);
    for (const auto& buffer : module.buffers()) EXPECT_TRUE((buffer == 0).all().item<bool>());
    communicator.all_gather("", odd_and_long);
    EXPECT_EQ(communicator.broadcast_message("x", 0, odd), "x");
    if (communicator.world_size() == 1) return;
    module.register_buffer("last" + odd, torch::zeros({2 + communicator.rank() % 2}));
    const std::string text =
        error_of<MismatchError>([&] { sync_module_states(module, communicator); });
    EXPECT_THAT(text, HasSubstr("lastodd\\x1fname \\xff\\xfe"));
    for (const auto& other : communicator.all_gather(text, "test")) {
      EXPECT_EQ(other, text);
    }
  });
}

TEST(SyncModuleStates, AnEmptyModuleIsFine) {
  run_on_every_rank([](Communicator& communicator) {
    torch::nn::Module module;
    SyncOptions options;
    options.verify = true;
    EXPECT_EQ(sync_module_states(module, communicator, options).bytes, 0U);
  });
}

TEST(SyncModuleStates, DifferentModulesAreTheSameErrorOnEveryRank) {
  run_on_every_rank([](Communicator& communicator) {
    if (communicator.world_size() == 1) GTEST_SKIP() << "needs a second rank";
    const int odd = communicator.world_size() - 1;
    const bool is_odd = communicator.rank() == odd;
    auto check = [&](torch::nn::Module& module, const std::string& text) {
      EXPECT_THAT(error_of<MismatchError>([&] { sync_module_states(module, communicator); }),
                  AllOf(HasSubstr(text), HasSubstr("rank " + std::to_string(odd))));
    };
    torch::nn::Module dtype;
    dtype.register_buffer("x", torch::zeros({2}, is_odd ? torch::kHalf : torch::kBFloat16));
    check(dtype, "has buffer x Half[2], but root rank 0 has buffer x BFloat16[2]");
    torch::nn::Module shape;
    shape.register_buffer("x", torch::zeros({is_odd ? 3 : 2}));
    check(shape, "x Float[3], but root rank 0 has buffer x Float[2]");
    torch::nn::Module missing;
    missing.register_buffer("x", torch::zeros({2}));
    if (!is_odd) missing.register_buffer("y", torch::zeros({2}));
    check(missing, "no further tensor");
    torch::nn::Module order;
    order.register_buffer(is_odd ? "b" : "a", torch::zeros({2}));
    order.register_buffer(is_odd ? "a" : "b", torch::zeros({2}));
    check(order, "buffer b");
    torch::nn::Module untied;
    auto x = torch::zeros({2});
    untied.register_buffer("x", x);
    untied.register_buffer("y", is_odd ? x : x.clone());
    check(untied, "sharing storage with x");

    // The communicator is fine afterwards.
    const auto module = make_seeded<AwkwardModule>(5 + communicator.rank());
    sync_module_states(*module, communicator);
    expect_values(*make_seeded<AwkwardModule>(5), *module);
  });
}

TEST(SyncModuleStates, OptionsThatCannotWorkAreTheSameErrorOnEveryRank) {
  run_on_every_rank([](Communicator& communicator) {
    torch::nn::Module module;
    module.register_buffer("x", torch::zeros({2}));
    SyncOptions options;
    options.root = communicator.world_size();
    EXPECT_THAT(error_of<ConfigError>([&] { sync_module_states(module, communicator, options); }),
                HasSubstr("option root"));
    options = {};
    options.bucket_bytes = 1;
    EXPECT_THAT(error_of<ConfigError>([&] { sync_module_states(module, communicator, options); }),
                HasSubstr("option bucket_bytes"));
    torch::nn::Module meta;
    meta.register_buffer("x", torch::zeros({2}, torch::kMeta));
    EXPECT_THAT(error_of<ConfigError>([&] { sync_module_states(meta, communicator); }),
                HasSubstr("create_fake_score_meta"));
    torch::nn::Module freed;
    freed.register_buffer("gone", torch::zeros({2}));
    if (communicator.rank() == communicator.world_size() - 1) {
      freed.named_buffers()["gone"].storage().unsafeGetStorageImpl()->set_nbytes(0);
    }
    EXPECT_THAT(error_of<ConfigError>([&] { sync_module_states(freed, communicator); }),
                AllOf(HasSubstr("gone"), HasSubstr("0 bytes of its storage"),
                      HasSubstr("on rank " + std::to_string(communicator.world_size() - 1))));
    if (communicator.world_size() == 1) return;
    options = {};
    options.bucket_bytes = 4096 * (communicator.rank() + 1);
    EXPECT_THAT(error_of<MismatchError>([&] { sync_module_states(module, communicator, options); }),
                HasSubstr("bucket_bytes=8192"));
  });
}

}  // namespace
}  // namespace fakescore
