// After an illegal access nothing works any more. One test, since the state is for good.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "emulation.hpp"
#include "self_test/gate.hpp"

namespace fakescore::emulation {
namespace {

constexpr size_t kBytes = 4096;

/// What a program holds when the device breaks.
class BrokenDeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(is_active()) << "the emulation is not preloaded";
    ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
    ASSERT_EQ(cudaEventCreate(&event), cudaSuccess);
    ASSERT_EQ(cudaMalloc(&buffer, kBytes), cudaSuccess);
    ASSERT_EQ(cudaMallocHost(&pinned, kBytes), cudaSuccess);
  }

  std::vector<std::pair<std::string, std::function<cudaError_t()>>> calls();

  cudaStream_t stream = nullptr;
  cudaEvent_t event = nullptr;
  void* buffer = nullptr;
  void* pinned = nullptr;
  void* other = nullptr;
  cudaStream_t other_stream = nullptr;
  cudaEvent_t other_event = nullptr;
  size_t free_bytes = 0, total_bytes = 0;
};

std::vector<std::pair<std::string, std::function<cudaError_t()>>> BrokenDeviceTest::calls() {
  return {
      {"cudaSetDevice", [] { return cudaSetDevice(0); }},
      {"cudaDeviceSynchronize", [] { return cudaDeviceSynchronize(); }},
      {"cudaMalloc", [this] { return cudaMalloc(&other, kBytes); }},
      {"cudaFree", [this] { return cudaFree(buffer); }},
      {"cudaMallocHost", [this] { return cudaMallocHost(&other, kBytes); }},
      {"cudaFreeHost", [this] { return cudaFreeHost(pinned); }},
      {"cudaMemGetInfo", [this] { return cudaMemGetInfo(&free_bytes, &total_bytes); }},
      {"cudaMemcpy", [this] { return cudaMemcpy(pinned, buffer, kBytes, cudaMemcpyDefault); }},
      {"cudaMemcpyAsync",
       [this] { return cudaMemcpyAsync(buffer, pinned, kBytes, cudaMemcpyDefault, stream); }},
      {"cudaMemsetAsync", [this] { return cudaMemsetAsync(buffer, 0, kBytes, stream); }},
      {"cudaStreamCreate", [this] { return cudaStreamCreate(&other_stream); }},
      {"cudaStreamQuery", [this] { return cudaStreamQuery(stream); }},
      {"cudaStreamSynchronize", [this] { return cudaStreamSynchronize(stream); }},
      {"cudaStreamWaitEvent", [this] { return cudaStreamWaitEvent(stream, event, 0); }},
      {"cudaStreamDestroy", [this] { return cudaStreamDestroy(stream); }},
      {"cudaEventCreate", [this] { return cudaEventCreate(&other_event); }},
      {"cudaEventRecord", [this] { return cudaEventRecord(event, stream); }},
      {"cudaEventQuery", [this] { return cudaEventQuery(event); }},
      {"cudaEventSynchronize", [this] { return cudaEventSynchronize(event); }},
      {"cudaEventDestroy", [this] { return cudaEventDestroy(event); }},
      {"cudaLaunchKernel", [this] { return cudaLaunchKernel(this, 1, 1, nullptr, 0, stream); }},
      {"cudaLaunchHostFunc",
       [this] {
         return cudaLaunchHostFunc(
             stream, [](void*) {}, nullptr);
       }},
      {"cudaPeekAtLastError", [] { return cudaPeekAtLastError(); }},
      {"cudaGetLastError", [] { return cudaGetLastError(); }},
  };
}

TEST_F(BrokenDeviceTest, EveryCallSaysSoAndNothingRuns) {
  std::atomic<int> notes{0};
  Gate gate(stream);
  attached()->submit(stream, "note", [&] { ++notes; });
  ASSERT_EQ(cudaEventRecord(event, stream), cudaSuccess);
  ASSERT_EQ(cudaEventQuery(event), cudaErrorNotReady);
  attached()->break_device();
  for (int round = 0; round < 2; ++round) {
    for (const auto& [name, call] : calls()) {
      EXPECT_EQ(call(), cudaErrorIllegalAddress) << name << ", while the stream is held";
    }
  }
  std::thread([&] { EXPECT_EQ(cudaGetLastError(), cudaErrorIllegalAddress); }).join();
  gate.open();
  attached()->submit(stream, "note", [&] { ++notes; });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(notes, 0) << "what was on the stream is lost";
  EXPECT_EQ(other, nullptr);
  int value = -1;
  EXPECT_EQ(cudaGetDevice(&value), cudaSuccess) << "what asks no device still answers";
  EXPECT_EQ(cudaGetDeviceCount(&value), cudaSuccess);
  EXPECT_STREQ(cudaGetErrorName(cudaEventQuery(event)), "cudaErrorIllegalAddress");
}

}  // namespace
}  // namespace fakescore::emulation
