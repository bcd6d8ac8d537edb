#include <c10/cuda/CUDAStream.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <thread>

#include "fakescore/comm/make_communicator.hpp"
#include "fakescore/module/create_fake_score_meta.hpp"
#include "fakescore/module/module_source.hpp"
#include "fakescore/module/sync_module_states.hpp"
#include "gpu/gpu_environment.hpp"
#include "gpu/mixed_module.hpp"
#include "self_test/gate.hpp"
#include "support/error_of.hpp"
#include "support/rank_environment.hpp"
#include "support/seeded_modules.hpp"
#include "support/tiny_models.hpp"

namespace fakescore {
namespace {

using testing::AwkwardModule;
using testing::expect_values;
using ::testing::HasSubstr;
using testing::make_seeded;
using testing::rank_device;
using testing::run_on_every_rank;

TEST(SyncOnGpu, GivesEveryRankTheRootsValues) {
  run_on_every_rank([](Communicator& communicator) {
    SyncOptions options;
    options.root = communicator.world_size() - 1;
    options.bucket_bytes = 100'000;
    options.verify = true;
    const auto module = make_seeded<AwkwardModule>(communicator.rank());
    module->to(rank_device());
    sync_module_states(*module, communicator, options);
    const auto expected = make_seeded<AwkwardModule>(options.root);
    expected->to(rank_device());
    expect_values(*expected, *module);
  });
}

TEST(SyncOnGpu, TakesModulesThatAreInBothMemories) {
  run_on_every_rank([](Communicator& communicator) {
    const auto module = testing::make_mixed_module(rank_device(), communicator.rank() + 1);
    sync_module_states(*module, communicator);
    expect_values(*testing::make_mixed_module(rank_device(), 1), *module);
    EXPECT_TRUE(module->named_buffers()["host"].is_cpu());
  });
}

TEST(SyncOnGpu, ModulesInOtherMemoriesThanOtherRanksAreTheSameErrorOnEveryRank) {
  run_on_every_rank([](Communicator& communicator) {
    if (communicator.world_size() == 1) GTEST_SKIP() << "needs a second rank";
    const auto module = testing::make_mixed_module(rank_device(), 1);
    if (communicator.rank() == communicator.world_size() - 1) module->to(rank_device());
    const std::string text =
        testing::error_of<ConfigError>([&] { sync_module_states(*module, communicator); });
    EXPECT_THAT(text, HasSubstr("devices of the module's tensors"));
    for (const auto& other : communicator.all_gather(text, "test")) EXPECT_EQ(other, text);
  });
}

TEST(SyncOnGpu, AFailureInHostMemoryIsTheSameErrorOnEveryRankBeforeTheGpuBegins) {
  run_on_every_rank([](Communicator& communicator) {
    const auto module = testing::make_mixed_module(rank_device(), communicator.rank() + 1);
    SyncOptions options;
    options.progress = [&](const Progress&) {
      if (communicator.rank() == 0) throw std::runtime_error("the display is gone");
    };
    const std::string text =
        testing::error_of<Error>([&] { sync_module_states(*module, communicator, options); });
    EXPECT_THAT(text, HasSubstr("the display is gone"));
    for (const auto& other : communicator.all_gather(text, "test")) EXPECT_EQ(other, text);
    const auto untouched = testing::make_mixed_module(rank_device(), communicator.rank() + 1);
    EXPECT_TRUE(torch::equal(module->named_parameters()["gpu"].cpu(),
                             untouched->named_parameters()["gpu"].cpu()));
  });
}

TEST(SyncOnGpu, StagesThroughHostMemoryWhereTheJobInsists) {
  run_on_every_rank([](Communicator& communicator) {
    const auto host = make_communicator(detect_launch_env(), std::chrono::seconds(60));
    ASSERT_TRUE(host->device().is_cpu());
    const auto module = make_seeded<AwkwardModule>(communicator.rank());
    module->to(rank_device());
    sync_module_states(*module, *host);
    const auto expected = make_seeded<AwkwardModule>(0);
    expect_values(*expected, *module);

    MetaOptions options;
    options.device = rank_device();
    options.verify = true;
    const auto source =
        communicator.rank() == 0 ? module_source(expected) : TeacherSource::path("/nonexistent");
    const MetaResult result = create_fake_score_meta(
        [] { return std::make_shared<AwkwardModule>(); }, source, *host, options);
    expect_values(*expected, *result.module);
    EXPECT_THAT(result.report.backend, HasSubstr("staged through host memory"));
  });
}

TEST(SyncOnGpu, StagesTheNextBytesOnlyAfterTheLastWereCopied) {
  run_on_every_rank([](Communicator& communicator) {
    constexpr int64_t kElements = int64_t{3} << 20;  // several times what is staged at once
    const auto host = make_communicator(detect_launch_env(), std::chrono::seconds(60));
    const auto expected = torch::arange(kElements, torch::kInt);
    torch::nn::Module module;
    const auto values = module.register_buffer(
        "values",
        (communicator.rank() == 0 ? expected : torch::zeros_like(expected)).to(rank_device()));
    // Receivers' copies begin late.
    emulation::Gate gate(c10::cuda::getCurrentCUDAStream(rank_device().index()));
    std::thread opener([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(300));
      gate.open();
    });
    sync_module_states(module, *host);
    opener.join();
    EXPECT_TRUE(torch::equal(values.cpu(), expected));
  });
}

TEST(SyncOnGpu, WaitsForTheCallersStream) {
  run_on_every_rank([](Communicator& communicator) {
    torch::nn::Module module;
    auto weight = torch::zeros({1 << 20}, torch::device(rank_device()));
    module.register_parameter("weight", weight, /*requires_grad=*/false);
    for (int i = 0; i < 20; ++i) {
      weight.fill_(communicator.rank() == 0 ? i : -1);  // still on its way when the call begins
      sync_module_states(module, communicator);
      EXPECT_TRUE((weight.cpu() == i).all().item<bool>()) << i;
    }
  });
}

TEST(SyncOnGpu, RefusesAModuleOnAnotherGpuThanTheCommunicators) {
  run_on_every_rank([](Communicator& communicator) {
    if (torch::cuda::device_count() < 2) GTEST_SKIP() << "needs a second GPU";
    const auto other = static_cast<at::DeviceIndex>(rank_device().index() == 0 ? 1 : 0);
    torch::nn::Module module;
    module.register_buffer("x", torch::zeros({2}, torch::device({torch::kCUDA, other})));
    EXPECT_THAT(testing::error_of<ConfigError>([&] { sync_module_states(module, communicator); }),
                HasSubstr("is not the communicator's"));
  });
}

}  // namespace
}  // namespace fakescore
