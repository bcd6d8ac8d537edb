// The classic mistakes of asynchronous code, each planted and each mended. An emulation on which
// the first goes unseen would be of no use; one on which the second fails could not be believed.
#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAGuard.h>
#include <gtest/gtest.h>
#include <nccl.h>

#include <thread>

#include "emulation.hpp"

namespace fakescore::emulation {
namespace {

constexpr int64_t kElements = 1 << 14;
/// Streams drift at random: a mistake is seen after a few tries, a mended program never fails.
constexpr int kTries = 300;
constexpr int kMendedTries = 15;

const auto kOnDevice = at::device(at::kCUDA).dtype(at::kFloat);
const auto kPinned = at::TensorOptions().dtype(at::kFloat).pinned_memory(true);

at::Tensor right_values() { return at::arange(1, kElements + 1, at::kFloat); }

at::Tensor pinned_copy(const at::Tensor& values) {
  at::Tensor copy = at::empty(values.sizes(), kPinned);
  copy.copy_(values);
  return copy;
}

c10::cuda::CUDAStream pool_stream(int device = 0) {
  return c10::cuda::getStreamFromPool(/*isHighPriority=*/false,
                                      static_cast<c10::DeviceIndex>(device));
}

void synchronize_all() {
  for (int device = 0; device < 2; ++device) {
    const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(device));
    c10::cuda::device_synchronize();
  }
}

/// Each returns what must equal `right_values()`. Memory is cleared where a try could find the
/// right values of the try before it.
using Program = at::Tensor (*)(bool is_mended);

at::Tensor event_between_streams(bool is_mended) {
  const auto producer = pool_stream();
  const auto consumer = pool_stream();
  const at::Tensor source = pinned_copy(right_values());
  at::Tensor result = at::zeros({kElements}, kPinned);
  at::Tensor on_device = at::zeros({kElements}, kOnDevice);
  synchronize_all();
  {
    const c10::cuda::CUDAStreamGuard guard(producer);
    on_device.copy_(source, /*non_blocking=*/true);
  }
  if (is_mended) {
    at::cuda::CUDAEvent event;
    event.record(producer);
    event.block(consumer);
  }
  {
    const c10::cuda::CUDAStreamGuard guard(consumer);
    result.copy_(on_device, true);
  }
  synchronize_all();
  return result.clone();
}

at::Tensor record_stream(bool is_mended) {
  const auto owner = pool_stream();
  const auto user = pool_stream();
  at::Tensor result = at::zeros({kElements}, kPinned);
  const c10::cuda::CUDAStreamGuard guard(owner);
  {
    at::Tensor on_device = right_values().to(at::kCUDA);
    owner.synchronize();
    {
      const c10::cuda::CUDAStreamGuard inner(user);
      result.copy_(on_device, true);
    }
    if (is_mended) on_device.record_stream(user);
  }
  at::Tensor reuses_the_memory = at::empty({kElements}, kOnDevice);
  reuses_the_memory.zero_();
  synchronize_all();
  return result.clone();
}

at::Tensor reuse_of_staging_memory(bool is_mended) {
  const auto stream = pool_stream();
  at::Tensor staging = pinned_copy(right_values());
  at::Tensor on_device = at::empty({kElements}, kOnDevice);
  {
    const c10::cuda::CUDAStreamGuard guard(stream);
    on_device.copy_(staging, true);
    if (is_mended) {
      at::cuda::CUDAEvent copied;
      copied.record(stream);
      copied.synchronize();
    }
    staging.zero_();
  }
  synchronize_all();
  return on_device.cpu();
}

at::Tensor final_synchronisation(bool is_mended) {
  const auto stream = pool_stream();
  const at::Tensor on_device = right_values().to(at::kCUDA);
  at::Tensor result = at::zeros({kElements}, kPinned);
  c10::cuda::device_synchronize();
  {
    const c10::cuda::CUDAStreamGuard guard(stream);
    result.copy_(on_device, true);
    if (is_mended) stream.synchronize();
  }
  at::Tensor seen = result.clone();
  synchronize_all();
  return seen;
}

/// Two ranks in this process, on a device each.
class TwoRanks {
 public:
  TwoRanks() {
    ncclUniqueId id;
    EXPECT_EQ(ncclGetUniqueId(&id), ncclSuccess);
    for (int rank = 0; rank < 2; ++rank) {
      const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(rank));
      ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
      config.blocking = 0;
      EXPECT_EQ(ncclCommInitRankConfig(&communicators_[rank], 2, id, rank, &config),
                ncclInProgress);
    }
    settle();
  }
  ~TwoRanks() {
    for (ncclComm_t communicator : communicators_) ncclCommDestroy(communicator);
  }
  TwoRanks(const TwoRanks&) = delete;
  TwoRanks& operator=(const TwoRanks&) = delete;

  void broadcast(int rank, const at::Tensor& tensor, const c10::cuda::CUDAStream& stream) {
    EXPECT_EQ(ncclBcast(tensor.data_ptr(), static_cast<size_t>(tensor.numel()), ncclFloat32, 0,
                        communicators_[rank], stream.stream()),
              ncclInProgress);
  }
  void settle() {
    for (ncclComm_t communicator : communicators_) {
      ncclResult_t state = ncclInProgress;
      while (state == ncclInProgress) {
        std::this_thread::yield();
        EXPECT_EQ(ncclCommGetAsyncError(communicator, &state), ncclSuccess);
      }
      EXPECT_EQ(state, ncclSuccess);
    }
  }

 private:
  ncclComm_t communicators_[2] = {};
};

at::Tensor copy_before_broadcast(bool is_mended) {
  static TwoRanks ranks;
  const auto copying = pool_stream();
  const auto sending = pool_stream();
  const auto receiving = pool_stream(1);
  const at::Tensor source = pinned_copy(right_values());
  at::Tensor sent = at::zeros({kElements}, kOnDevice);
  at::Tensor received = at::zeros({kElements}, kOnDevice.device(at::Device(at::kCUDA, 1)));
  synchronize_all();
  {
    const c10::cuda::CUDAStreamGuard guard(copying);
    sent.copy_(source, true);
  }
  if (is_mended) {
    at::cuda::CUDAEvent copied;
    copied.record(copying);
    copied.block(sending);
  }
  ranks.broadcast(0, sent, sending);
  ranks.broadcast(1, received, receiving);
  ranks.settle();
  synchronize_all();
  return received.cpu();
}

/// With NCCL a call that does not block may not be on the stream yet when it returns.
at::Tensor launch_before_event(bool is_mended) {
  static TwoRanks ranks;
  const auto sending = pool_stream();
  const auto receiving = pool_stream(1);
  const auto reading = pool_stream(1);
  const at::Tensor sent = right_values().to(at::kCUDA);
  const at::Tensor received = at::zeros({kElements}, kOnDevice.device(at::Device(at::kCUDA, 1)));
  at::Tensor result = at::zeros({kElements}, kPinned);
  synchronize_all();
  ranks.broadcast(0, sent, sending);
  ranks.broadcast(1, received, receiving);
  if (is_mended) ranks.settle();
  at::cuda::CUDAEvent arrived;
  arrived.record(receiving);
  arrived.block(reading);
  {
    const c10::cuda::CUDAStreamGuard guard(reading);
    result.copy_(received, true);
  }
  ranks.settle();
  synchronize_all();
  return result.clone();
}

struct Case {
  const char* name;
  Program program;
};

class PlantedMistakesTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override { ASSERT_TRUE(is_active()) << "the emulation is not preloaded"; }

  bool is_right(bool is_mended) { return GetParam().program(is_mended).equal(right_values()); }
};

TEST_P(PlantedMistakesTest, IsSeen) {
  for (int i = 0; i < kTries; ++i) {
    if (!is_right(/*is_mended=*/false)) return;
  }
  FAIL() << "nothing was wrong in " << kTries << " tries";
}

TEST_P(PlantedMistakesTest, IsRightOnceMended) {
  for (int i = 0; i < kMendedTries; ++i) ASSERT_TRUE(is_right(/*is_mended=*/true)) << "try " << i;
}

INSTANTIATE_TEST_SUITE_P(All, PlantedMistakesTest,
                         ::testing::Values(Case{"event_between_streams", event_between_streams},
                                           Case{"record_stream", record_stream},
                                           Case{"reuse_of_staging_memory", reuse_of_staging_memory},
                                           Case{"final_synchronisation", final_synchronisation},
                                           Case{"copy_before_broadcast", copy_before_broadcast},
                                           Case{"launch_before_event", launch_before_event}),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace fakescore::emulation
