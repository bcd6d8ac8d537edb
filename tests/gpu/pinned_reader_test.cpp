#include "transfer/pinned_reader.hpp"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <thread>

#include "gpu/gpu_environment.hpp"
#include "support/rank_environment.hpp"

namespace fakescore::detail {
namespace {

using testing::rank_device;
using testing::run_on_every_rank;

constexpr size_t kPinned = 64 << 10;
constexpr size_t kThreads = 2;

c10::Event record_now() {
  c10::Event event(at::kCUDA);
  event.record(c10::impl::VirtualGuardImpl(at::kCUDA).getStream(rank_device()));
  return event;
}

PinnedReader::Job fill_with(int value, size_t bytes) {
  return [value, bytes](std::byte* slot) { std::memset(slot, value, bytes); };
}

TEST(PinnedReader, HandsSlotsOutInTheOrderOfTheJobs) {
  run_on_every_rank([](Communicator&) {
    PinnedReader reader(kPinned, kThreads, rank_device());
    constexpr int kJobs = 100;
    for (int i = 0; i < kJobs; ++i) reader.submit(fill_with(i, reader.slot_bytes()));
    for (int i = 0; i < kJobs; ++i) {
      const at::Tensor slot = reader.take();
      EXPECT_TRUE(slot.is_pinned());
      EXPECT_TRUE((slot == i).all().item<bool>()) << i;
      reader.release(record_now());
    }
  });
}

TEST(PinnedReader, FillsASlotAgainOnlyOnceItsCopyIsDone) {
  run_on_every_rank([](Communicator&) {
    PinnedReader reader(kPinned, kThreads, rank_device());
    constexpr int kJobs = 40;
    const auto bytes = static_cast<int64_t>(reader.slot_bytes());
    const auto on_gpu =
        torch::empty({kJobs, bytes}, torch::dtype(torch::kUInt8).device(rank_device()));
    for (int i = 0; i < kJobs; ++i) reader.submit(fill_with(i, reader.slot_bytes()));
    for (int i = 0; i < kJobs; ++i) {
      on_gpu[i].copy_(reader.take(), /*non_blocking=*/true);
      reader.release(record_now());
    }
    const auto want = torch::arange(kJobs, torch::kUInt8).unsqueeze(1).expand({kJobs, bytes});
    EXPECT_TRUE(torch::equal(on_gpu.cpu(), want));
  });
}

TEST(PinnedReader, ThrowsWhatAJobThrewAndGoesOn) {
  run_on_every_rank([](Communicator&) {
    PinnedReader reader(kPinned, kThreads, rank_device());
    reader.submit([](std::byte*) { throw std::runtime_error("cannot be read"); });
    reader.submit(fill_with(3, reader.slot_bytes()));
    EXPECT_THROW(reader.take(), std::runtime_error);
    reader.release(record_now());
    EXPECT_TRUE((reader.take() == 3).all().item<bool>());
    reader.release(record_now());
  });
}

TEST(PinnedReader, CanBeDestroyedWithJobsThatNobodyTook) {
  run_on_every_rank([](Communicator&) {
    std::atomic<int> running{0};
    {
      PinnedReader reader(kPinned, kThreads, rank_device());
      for (int i = 0; i < 20; ++i) {
        reader.submit([&](std::byte*) {
          ++running;
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
          --running;
        });
      }
    }
    EXPECT_EQ(running, 0);
  });
}

}  // namespace
}  // namespace fakescore::detail
