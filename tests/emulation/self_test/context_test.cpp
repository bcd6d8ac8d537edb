// Which calls make a device's primary context. Each case runs in a process of its own.
#include <cuda.h>
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>

#include "emulation.hpp"

namespace fakescore::emulation {
namespace {

constexpr size_t kBytes = 4096;

void must(cudaError_t result) {
  if (result != cudaSuccess) std::abort();
}

/// As LibTorch asks for it.
bool is_active_by_driver(int device) {
  void* entry = nullptr;
  must(cudaGetDriverEntryPointByVersion("cuDevicePrimaryCtxGetState", &entry, CUDART_VERSION, 0,
                                        nullptr));
  unsigned flags = 0;
  int is_active = -1;
  const auto ask = reinterpret_cast<CUresult (*)(CUdevice, unsigned*, int*)>(entry);
  if (ask(device, &flags, &is_active) != CUDA_SUCCESS) std::abort();
  return is_active != 0;
}

/// The exit status is how many contexts there are, by the counter and the driver.
template <class Use>
[[noreturn]] void count_contexts(Use use) {
  use();
  int by_driver = 0;
  for (int device = 0; device < 4; ++device) by_driver += is_active_by_driver(device) ? 1 : 0;
  const auto counted = static_cast<int>(attached()->counters().contexts);
  std::_Exit(counted == by_driver ? counted : 100);
}

template <class Use>
void expect_contexts(int count, Use use) {
  EXPECT_EXIT(count_contexts(use), ::testing::ExitedWithCode(count), "");
}

class ContextTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(is_active()) << "the emulation is not preloaded";
    GTEST_FLAG_SET(death_test_style, "threadsafe");
  }
};

TEST_F(ContextTest, LookingUpMakesNone) {
  expect_contexts(0, [] {
    int value = 0;
    cudaDeviceProp properties;
    must(cudaGetDeviceCount(&value));
    must(cudaGetDevice(&value));
    must(cudaGetDeviceProperties(&properties, 1));
    must(cudaDeviceGetAttribute(&value, cudaDevAttrWarpSize, 1));
    must(cudaDeviceCanAccessPeer(&value, 0, 1));
    must(cudaRuntimeGetVersion(&value));
    must(cudaGetLastError());
  });
}

TEST_F(ContextTest, OneDeviceAloneHasOne) {
  expect_contexts(1, [] {
    must(cudaSetDevice(1));
    void* buffer = nullptr;
    void* pinned = nullptr;
    cudaStream_t stream = nullptr;
    cudaEvent_t event = nullptr;
    must(cudaMalloc(&buffer, kBytes));
    must(cudaMallocHost(&pinned, kBytes));
    must(cudaStreamCreate(&stream));
    must(cudaEventCreate(&event));
    must(cudaMemcpyAsync(buffer, pinned, kBytes, cudaMemcpyDefault, stream));
    must(cudaEventRecord(event, stream));
    must(cudaDeviceSynchronize());
    must(cudaEventDestroy(event));
    must(cudaStreamDestroy(stream));
    must(cudaFreeHost(pinned));
    must(cudaFree(buffer));
    if (!is_active_by_driver(1)) std::abort();
  });
}

TEST_F(ContextTest, SettingADeviceMakesIt) {
  expect_contexts(2, [] {
    must(cudaSetDevice(2));
    must(cudaSetDevice(1));
    must(cudaSetDevice(2));
  });
}

TEST_F(ContextTest, CallsThatNeedOneMakeItOfTheFirstDevice) {
  expect_contexts(1, [] { must(cudaFree(nullptr)); });
  expect_contexts(1, [] {
    void* pinned = nullptr;
    must(cudaMallocHost(&pinned, kBytes));
  });
  expect_contexts(1, [] {
    cudaPointerAttributes attributes;
    must(cudaPointerGetAttributes(&attributes, &attributes));
  });
  expect_contexts(1, [] { must(cudaStreamSynchronize(nullptr)); });
}

/// What a thread does with an event of device 1. A new thread's current device is the first one.
template <class Use>
auto on_new_thread(Use use) {
  return [use] {
    must(cudaSetDevice(1));
    cudaEvent_t event = nullptr;
    must(cudaEventCreate(&event));
    std::thread([&] { use(event); }).join();
  };
}

TEST_F(ContextTest, AnEventThatIsDestroyedElsewhereMakesASecondOne) {
  expect_contexts(2, on_new_thread([](cudaEvent_t event) { must(cudaEventDestroy(event)); }));
  expect_contexts(1, on_new_thread([](cudaEvent_t event) {
                    must(cudaSetDevice(1));
                    must(cudaEventDestroy(event));
                  }));
}

TEST_F(ContextTest, AnEventThatIsAskedElsewhereMakesNone) {
  expect_contexts(1, on_new_thread([](cudaEvent_t event) {
                    must(cudaEventQuery(event));
                    must(cudaEventSynchronize(event));
                  }));
}

TEST_F(ContextTest, PeersBothHaveOne) {
  expect_contexts(2, [] { must(cudaDeviceEnablePeerAccess(3, 0)); });
}

}  // namespace
}  // namespace fakescore::emulation
