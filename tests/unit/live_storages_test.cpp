// Storages that tensors of a job leave behind, which a leak check cannot tell from LibTorch's own.
#include <c10/core/CPUAllocator.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "fakescore/fakescore.hpp"
#include "support/tiny_models.hpp"

namespace fakescore {
namespace {

using testing::AwkwardModule;
using testing::PlainModule;

/// LibTorch's allocator of host memory, with a count of what it gave and did not get back.
class CountingAllocator : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* data = inner_->raw_allocate(bytes);
    if (data != nullptr) ++live;
    return {data, data, &release, at::Device(at::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }

  static std::atomic<int> live;

 private:
  static void release(void* data) {
    if (data == nullptr) return;
    inner_->raw_deallocate(data);
    --live;
  }

  static c10::Allocator* const inner_;
};

std::atomic<int> CountingAllocator::live{0};
c10::Allocator* const CountingAllocator::inner_ = c10::GetDefaultCPUAllocator();

/// Runs a job of two ranks; returns how many of them failed.
int run_job(const ModuleBuilder& build, const TeacherSource& teacher, const MetaOptions& options) {
  const auto world = make_local_communicators(2);
  std::atomic<int> failed{0};
  std::vector<std::thread> ranks;
  for (const auto& communicator : world) {
    ranks.emplace_back([&] {
      try {
        create_fake_score_meta(build, teacher, *communicator, options);
      } catch (const Error&) {
        ++failed;
      }
    });
  }
  for (auto& rank : ranks) rank.join();
  return failed;
}

/// Expects that repeating `job` leaves nothing; what its first run keeps may be a cache.
void expect_nothing_left(const std::function<int()>& job, int failed) {
  EXPECT_EQ(job(), failed);
  const int before = CountingAllocator::live;
  EXPECT_GT(before, 0) << "nothing is counted";
  EXPECT_EQ(job(), failed);
  EXPECT_EQ(CountingAllocator::live, before);
}

template <class Module>
ModuleBuilder builder() {
  return [] { return std::make_shared<Module>(); };
}

TEST(LiveStorages, AJobLeavesNone) {
  const auto teacher = module_source(std::make_shared<AwkwardModule>());
  MetaOptions options;
  options.verify = true;
  options.dtype = at::kBFloat16;
  expect_nothing_left([&] { return run_job(builder<AwkwardModule>(), teacher, options); }, 0);
}

TEST(LiveStorages, AJobThatFailsInItsPlanLeavesNone) {
  const auto teacher = module_source(std::make_shared<PlainModule>());
  expect_nothing_left([&] { return run_job(builder<AwkwardModule>(), teacher, {}); }, 2);
}

TEST(LiveStorages, ABuilderThatThrowsLeavesNone) {
  const auto teacher = module_source(std::make_shared<PlainModule>());
  const auto build = []() -> std::shared_ptr<torch::nn::Module> {
    const PlainModule half;
    throw std::runtime_error("half built");
  };
  expect_nothing_left([&] { return run_job(build, teacher, {}); }, 2);
}

TEST(LiveStorages, ADeepCopyLeavesNone) {
  const auto teacher = std::make_shared<PlainModule>();
  expect_nothing_left([&] { return create_fake_score(teacher)->is_training() ? 0 : 1; }, 0);
}

}  // namespace
}  // namespace fakescore

int main(int argc, char** argv) {
  static fakescore::CountingAllocator allocator;
  c10::SetCPUAllocator(&allocator, 255);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
