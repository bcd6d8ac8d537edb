// What a rank holds on its GPU and in pinned memory, and what happens when there is not enough.
#include <ATen/DeviceAccelerator.h>
#include <ATen/core/CachingHostAllocator.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "emulation/emulation.hpp"
#include "fakescore/comm/make_communicator.hpp"
#include "fakescore/error.hpp"
#include "fakescore/module/create_fake_score_meta.hpp"
#include "fakescore/module/module_source.hpp"
#include "gpu/gpu_environment.hpp"
#include "support/error_of.hpp"
#include "support/rank_environment.hpp"

namespace fakescore {
namespace {

using ::testing::HasSubstr;
using testing::rank_device;
using testing::run_on_every_rank;

constexpr size_t kFlights = 3;
constexpr int64_t kSmallTensors = 2000;
constexpr int64_t kSmallElements = 256;
constexpr int64_t kLargeElements = 3 << 20;

std::shared_ptr<torch::nn::Module> build_mixed() {
  auto module = std::make_shared<torch::nn::Module>();
  for (int64_t i = 0; i < kSmallTensors; ++i) {
    module->register_parameter("small_" + std::to_string(i), torch::zeros({kSmallElements}));
  }
  module->register_parameter("large_0", torch::zeros({kLargeElements}));
  module->register_parameter("large_1", torch::zeros({kLargeElements}));
  return module;
}

constexpr uint64_t kModelBytes = 4 * (kSmallTensors * kSmallElements + 2 * kLargeElements);

at::CachingDeviceAllocator::DeviceStats stats() {
  return at::accelerator::getDeviceStats(rank_device().index());
}

constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);

TeacherSource teacher_on_root(const Communicator& communicator) {
  if (communicator.rank() != 0) return TeacherSource::path("/nonexistent");
  const auto module = build_mixed();
  float value = 0;
  const torch::NoGradGuard no_grad;
  for (auto& parameter : module->parameters()) parameter.fill_(++value);
  return module_source(module);
}

MetaOptions options_with(size_t bucket_bytes, size_t pinned_bytes) {
  MetaOptions options;
  options.bucket_bytes = bucket_bytes;
  options.pinned_bytes = pinned_bytes;
  return options;
}

TEST(GpuMemory, IsTheModelAndTheScratchBuckets) {
  run_on_every_rank([](Communicator& communicator) {
    constexpr size_t kBucket = 1 << 20;
    const auto source = teacher_on_root(communicator);
    at::accelerator::resetPeakStats(rank_device().index());
    const int64_t before = stats().allocated_bytes[kAll].current;
    const MetaResult result =
        create_fake_score_meta(build_mixed, source, communicator, options_with(kBucket, 1 << 20));
    const auto after = stats();
    // The allocator rounds each tensor up to 512 bytes; here small ones have 1024.
    EXPECT_EQ(static_cast<uint64_t>(after.allocated_bytes[kAll].current - before), kModelBytes);
    EXPECT_LE(static_cast<uint64_t>(after.allocated_bytes[kAll].peak - before),
              kModelBytes + kFlights * kBucket);
  });
}

TEST(GpuMemory, PinnedMemoryIsAtMostWhatIsConfigured) {
  auto* emulation = emulation::attached();
  if (emulation == nullptr) GTEST_SKIP() << "only the emulation counts pinned memory by process";
  run_on_every_rank([&](Communicator& communicator) {
    const auto source = teacher_on_root(communicator);
    at::getHostAllocator(at::kCUDA)->empty_cache();
    emulation->reset_counters();
    const uint64_t before = emulation->counters().pinned_bytes;
    create_fake_score_meta(build_mixed, source, communicator, options_with(1 << 20, 300'000));
    EXPECT_LE(emulation->counters().pinned_bytes_peak - before,
              communicator.rank() == 0 ? 300'000U : 0U);
  });
}

TEST(GpuMemory, EveryByteIsCopiedOnceAndBroadcastOnce) {
  auto* emulation = emulation::attached();
  if (emulation == nullptr) GTEST_SKIP() << "only the emulation counts bytes and calls";
  run_on_every_rank([&](Communicator& communicator) {
    constexpr size_t kBucket = 1 << 20;
    const auto source = teacher_on_root(communicator);
    emulation->reset_counters();
    const MetaResult result =
        create_fake_score_meta(build_mixed, source, communicator, options_with(kBucket, 1 << 20));
    const auto counted = emulation->counters();
    EXPECT_EQ(result.report.bytes, kModelBytes);
    EXPECT_EQ(counted.nccl_broadcast_bytes, kModelBytes);
    EXPECT_EQ(counted.h2d_bytes, communicator.rank() == 0 ? kModelBytes : 0U);
    // As many launches as the bytes fill buckets, and one more where a bucket could not be filled.
    EXPECT_LE(counted.nccl_launches, kModelBytes / kBucket + 3);
  });
}

TEST(GpuMemory, ATeacherOnTheGpuTakesNoDetour) {
  auto* emulation = emulation::attached();
  if (emulation == nullptr) GTEST_SKIP() << "only the emulation counts bytes and calls";
  run_on_every_rank([&](Communicator& communicator) {
    auto module = build_mixed();
    module->to(rank_device());
    const auto source =
        communicator.rank() == 0 ? module_source(module) : TeacherSource::path("/nonexistent");
    at::getHostAllocator(at::kCUDA)->empty_cache();
    emulation->reset_counters();
    const uint64_t pinned = emulation->counters().pinned_bytes;
    create_fake_score_meta(build_mixed, source, communicator, options_with(1 << 20, 1 << 20));
    EXPECT_EQ(emulation->counters().h2d_bytes, 0U);
    EXPECT_EQ(emulation->counters().d2h_bytes, 0U);
    EXPECT_EQ(emulation->counters().pinned_bytes_peak, pinned) << "pinned memory is of no use here";
  });
}

TEST(GpuMemory, TooLittleOnOneRankIsTheSameErrorEverywhereAndLeavesNothing) {
  auto* emulation = emulation::attached();
  if (emulation == nullptr) GTEST_SKIP() << "only the emulation can fail one rank's allocations";
  run_on_every_rank([&](Communicator& communicator) {
    const auto source = teacher_on_root(communicator);
    at::accelerator::emptyCache();
    const int64_t before = stats().allocated_bytes[kAll].current;
    const int odd = communicator.world_size() - 1;
    // The allocator frees its cache and tries again: both tries fail.
    if (communicator.rank() == odd) emulation->fail_allocations(2, 2);
    const std::string text = testing::error_of<MemoryError>([&] {
      create_fake_score_meta(build_mixed, source, communicator, options_with(1 << 20, 1 << 20));
    });
    EXPECT_THAT(text, HasSubstr("rank " + std::to_string(odd) + " in place"));
    for (const auto& other : communicator.all_gather(text, "test")) EXPECT_EQ(other, text);
    EXPECT_EQ(stats().allocated_bytes[kAll].current, before);
    const MetaResult result =
        create_fake_score_meta(build_mixed, source, communicator, options_with(1 << 20, 1 << 20));
    EXPECT_EQ(result.module->named_parameters()["large_1"][0].item<float>(), kSmallTensors + 2);
  });
}

/// On rank `odd` some pinned allocations fail, beginning with the first, in a job over `job`.
void expect_same_error_without_pinned_memory(emulation::Emulation& emulation,
                                             Communicator& communicator, Communicator& job, int odd,
                                             unsigned failures, const std::string& where) {
  MetaOptions options = options_with(1 << 20, 1 << 20);
  options.device = rank_device();
  const auto source = teacher_on_root(communicator);
  at::getHostAllocator(at::kCUDA)->empty_cache();
  if (communicator.rank() == odd) emulation.fail_pinned_allocations(1, failures);
  const std::string text = testing::error_of<MemoryError>(
      [&] { create_fake_score_meta(build_mixed, source, job, options); });
  EXPECT_THAT(text, HasSubstr("rank " + std::to_string(odd) + where));
  for (const auto& other : communicator.all_gather(text, "test")) EXPECT_EQ(other, text);
  EXPECT_FALSE(job.broken());
  emulation.fail_pinned_allocations(1, 0);
}

TEST(GpuMemory, OneRankWithoutPinnedMemoryIsTheSameErrorEverywhere) {
  auto* emulation = emulation::attached();
  if (emulation == nullptr) GTEST_SKIP() << "only the emulation can fail pinned allocations";
  run_on_every_rank([&](Communicator& communicator) {
    const auto host = make_communicator(detect_launch_env(), std::chrono::seconds(60));
    expect_same_error_without_pinned_memory(*emulation, communicator, *host,
                                            communicator.world_size() - 1, 2,
                                            " in build: pinned memory");
  });
}

TEST(GpuMemory, ARootWithoutPinnedMemoryIsTheSameErrorEverywhere) {
  auto* emulation = emulation::attached();
  if (emulation == nullptr) GTEST_SKIP() << "only the emulation can fail pinned allocations";
  run_on_every_rank([&](Communicator& communicator) {
    expect_same_error_without_pinned_memory(*emulation, communicator, communicator, 0, 1000,
                                            " in move");
  });
}

TEST(GpuMemory, ARankUsesItsOwnGpuAlone) {
  auto* emulation = emulation::attached();
  if (emulation == nullptr) GTEST_SKIP() << "only the emulation counts contexts";
  run_on_every_rank([&](Communicator& communicator) {
    create_fake_score_meta(build_mixed, teacher_on_root(communicator), communicator,
                           options_with(1 << 20, 1 << 20));
    EXPECT_EQ(emulation->counters().contexts, 1U) << "a context costs hundreds of megabytes";
  });
}

TEST(GpuMemory, AModelBeyondTheGpuIsTheSameErrorEverywhere) {
  run_on_every_rank([](Communicator& communicator) {
    const auto build = []() -> std::shared_ptr<torch::nn::Module> {
      auto module = std::make_shared<torch::nn::Module>();
      module->register_parameter("huge", torch::zeros({int64_t{1} << 42}));
      return module;
    };
    MetaOptions options;
    options.strict = false;
    const auto source = communicator.rank() == 0
                            ? TeacherSource::state_dict({{"other", torch::ones(1)}})
                            : TeacherSource::path("/nonexistent");
    const std::string text = testing::error_of<MemoryError>(
        [&] { create_fake_score_meta(build, source, communicator, options); });
    EXPECT_THAT(text, HasSubstr("huge"));
    for (const auto& other : communicator.all_gather(text, "test")) EXPECT_EQ(other, text);
  });
}

}  // namespace
}  // namespace fakescore
