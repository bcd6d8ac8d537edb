#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "fakescore/comm/make_communicator.hpp"
#include "fakescore/core/module_tensors.hpp"
#include "fakescore/factory/fake_score_meta.hpp"
#include "fakescore/sync/sync_module_states.hpp"
#include "gpu/gpu_environment.hpp"
#include "support/error_of.hpp"
#include "support/rank_environment.hpp"
#include "support/tensor_checks.hpp"
#include "support/tiny_models.hpp"

namespace fakescore {
namespace {

using testing::AwkwardModule;
using testing::bit_equal;
using ::testing::HasSubstr;
using testing::rank_device;
using testing::run_on_every_rank;

std::shared_ptr<AwkwardModule> make_seeded(int seed) {
  torch::manual_seed(seed);
  return std::make_shared<AwkwardModule>();
}

void expect_values(const torch::nn::Module& expected, const torch::nn::Module& actual) {
  const auto want = module_tensors(expected);
  const auto got = module_tensors(actual);
  for (size_t i = 0; i < want.size(); ++i) {
    // A copy to the host does not keep the strides of a view.
    EXPECT_TRUE(bit_equal(want[i].tensor.cpu().contiguous(), got[i].tensor.cpu().contiguous()))
        << want[i].name;
  }
}

TEST(SyncOnGpu, GivesEveryRankTheRootsValues) {
  run_on_every_rank([](Communicator& communicator) {
    SyncOptions options;
    options.root = communicator.world_size() - 1;
    options.bucket_bytes = 100'000;
    options.verify = true;
    const auto module = make_seeded(communicator.rank());
    module->to(rank_device());
    sync_module_states(*module, communicator, options);
    const auto expected = make_seeded(options.root);
    expected->to(rank_device());
    expect_values(*expected, *module);
  });
}

TEST(SyncOnGpu, TakesModulesThatAreInBothMemories) {
  run_on_every_rank([](Communicator& communicator) {
    const auto make = [&](float value) {
      auto module = std::make_shared<torch::nn::Module>();
      module->register_parameter("gpu", torch::full({1000}, value, torch::device(rank_device())));
      module->register_buffer("host", torch::full({50'000}, value));
      return module;
    };
    const auto module = make(static_cast<float>(communicator.rank()) + 1);
    sync_module_states(*module, communicator);
    expect_values(*make(1), *module);
    EXPECT_TRUE(module->named_buffers()["host"].is_cpu());
  });
}

TEST(SyncOnGpu, StagesThroughHostMemoryWhereTheJobInsists) {
  run_on_every_rank([](Communicator& communicator) {
    const auto host = make_communicator(detect_launch_env(), std::chrono::seconds(60));
    ASSERT_TRUE(host->device().is_cpu());
    const auto module = make_seeded(communicator.rank());
    module->to(rank_device());
    sync_module_states(*module, *host);
    const auto expected = make_seeded(0);
    expect_values(*expected, *module);

    MetaOptions options;
    options.device = rank_device();
    options.verify = true;
    const auto source = communicator.rank() == 0 ? TeacherSource::module(expected)
                                                 : TeacherSource::path("/nonexistent");
    const MetaResult result = create_fake_score_meta(
        [] { return std::make_shared<AwkwardModule>(); }, source, *host, options);
    expect_values(*expected, *result.module);
    EXPECT_THAT(result.report.backend, HasSubstr("staged through host memory"));
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
