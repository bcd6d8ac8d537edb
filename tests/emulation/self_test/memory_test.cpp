#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "emulation.hpp"
#include "self_test/device_buffer.hpp"
#include "self_test/gate.hpp"

namespace fakescore::emulation {
namespace {

constexpr size_t kBytes = 4096;
constexpr unsigned char kPoisonByte = 0xFF;

class MemoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(is_active()) << "the emulation is not preloaded";
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    ASSERT_EQ(cudaSetDevice(0), cudaSuccess);
    attached()->reset_counters();
  }
};

TEST_F(MemoryTest, FreshMemoryIsPoisonedAlsoWhereItWasUsedBefore) {
  void* first = nullptr;
  {
    const DeviceBuffer buffer(kBytes);
    first = buffer.get();
    EXPECT_EQ(buffer.read(), filled(kBytes, kPoisonByte));
    ASSERT_EQ(cudaMemset(buffer.get(), 1, kBytes), cudaSuccess);
    EXPECT_EQ(buffer.read(), filled(kBytes, 1));
  }
  const DeviceBuffer again(kBytes);
  ASSERT_EQ(again.get(), first);
  EXPECT_EQ(again.read(), filled(kBytes, kPoisonByte));
}

TEST_F(MemoryTest, TheHostCannotTouchDeviceMemory) {
  const DeviceBuffer buffer(kBytes);
  EXPECT_DEATH(*static_cast<volatile char*>(buffer.get()) = 1, "");
  EXPECT_DEATH(static_cast<void>(*static_cast<volatile char*>(buffer.get())), "");
}

TEST_F(MemoryTest, ATestReachesDeviceMemoryThroughTheShadow) {
  const DeviceBuffer buffer(kBytes);
  ASSERT_EQ(cudaMemset(buffer.get(), 7, kBytes), cudaSuccess);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_EQ(static_cast<char*>(attached()->host_address(buffer.get()))[kBytes - 1], 7);
  int local = 0;
  EXPECT_EQ(attached()->host_address(&local), &local);
}

TEST_F(MemoryTest, ADeviceHasNoMoreThanItsCapacity) {
  size_t free_bytes = 0;
  size_t total = 0;
  ASSERT_EQ(cudaMemGetInfo(&free_bytes, &total), cudaSuccess);
  EXPECT_EQ(free_bytes, total);
  {
    const DeviceBuffer half(total / 2);
    void* rest = nullptr;
    EXPECT_EQ(cudaMalloc(&rest, total / 2 + 1), cudaErrorMemoryAllocation);
    EXPECT_EQ(rest, nullptr);
    EXPECT_EQ(cudaPeekAtLastError(), cudaErrorMemoryAllocation);
    EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
    EXPECT_EQ(cudaGetLastError(), cudaSuccess);
    const DeviceBuffer other_half(total / 2);
    ASSERT_EQ(cudaMemGetInfo(&free_bytes, &total), cudaSuccess);
    EXPECT_EQ(free_bytes, 0);
  }
  const DeviceBuffer all(total);
}

TEST_F(MemoryTest, ChosenAllocationsFail) {
  attached()->fail_allocations(2, 2);
  std::vector<void*> buffers(4);
  std::vector<cudaError_t> results(buffers.size());
  std::transform(buffers.begin(), buffers.end(), results.begin(),
                 [](void*& buffer) { return cudaMalloc(&buffer, kBytes); });
  EXPECT_EQ(results, (std::vector{cudaSuccess, cudaErrorMemoryAllocation, cudaErrorMemoryAllocation,
                                  cudaSuccess}));
  for (void* const buffer : buffers) EXPECT_EQ(cudaFree(buffer), cudaSuccess);
  cudaGetLastError();
}

TEST_F(MemoryTest, ChosenPinnedAllocationsFail) {
  attached()->fail_pinned_allocations(1, 1);
  void* buffer = nullptr;
  EXPECT_EQ(cudaMallocHost(&buffer, kBytes), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaMallocHost(&buffer, kBytes), cudaSuccess);
  EXPECT_EQ(cudaFreeHost(buffer), cudaSuccess);
  cudaGetLastError();
}

TEST_F(MemoryTest, OnlyWhatWasAllocatedIsFreed) {
  const DeviceBuffer buffer(kBytes);
  EXPECT_EQ(cudaFree(buffer.at(512)), cudaErrorInvalidValue);
  int local = 0;
  EXPECT_EQ(cudaFree(&local), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFreeHost(&local), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFree(nullptr), cudaSuccess);
  cudaGetLastError();
}

TEST_F(MemoryTest, CopiesOutsideLiveAllocationsAreErrors) {
  const DeviceBuffer buffer(kBytes);
  std::vector<char> host(2 * kBytes);
  const auto copy = [&](void* to, const void* from, size_t bytes) {
    return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, nullptr);
  };
  EXPECT_EQ(copy(buffer.get(), host.data(), kBytes), cudaSuccess);
  EXPECT_EQ(copy(buffer.get(), host.data(), kBytes + 1), cudaErrorInvalidValue);
  EXPECT_EQ(copy(host.data(), buffer.at(1), kBytes), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemset(buffer.at(1), 0, kBytes), cudaErrorInvalidValue);
  void* freed = nullptr;
  {
    const DeviceBuffer gone(kBytes);
    freed = gone.get();
  }
  EXPECT_EQ(copy(freed, host.data(), 1), cudaErrorInvalidValue);
  const PinnedBuffer pinned(kBytes, 0);
  EXPECT_EQ(copy(buffer.get(), static_cast<char*>(pinned.get()) + 1, kBytes),
            cudaErrorInvalidValue);
  cudaGetLastError();
}

TEST_F(MemoryTest, ACopyGoesTheWayItSays) {
  const DeviceBuffer buffer(kBytes);
  std::vector<char> host(kBytes);
  EXPECT_EQ(cudaMemcpy(buffer.get(), host.data(), kBytes, cudaMemcpyDeviceToHost),
            cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(host.data(), buffer.get(), kBytes, cudaMemcpyHostToDevice),
            cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(buffer.get(), host.data(), kBytes, cudaMemcpyDeviceToDevice),
            cudaErrorInvalidValue);
  cudaGetLastError();
}

TEST_F(MemoryTest, PageableMemoryIsStagedBeforeTheCallReturns) {
  const DeviceBuffer buffer(kBytes);
  auto host = filled(kBytes, 1);
  {
    Gate gate(nullptr);
    ASSERT_EQ(cudaMemcpyAsync(buffer.get(), host.data(), kBytes, cudaMemcpyDefault, nullptr),
              cudaSuccess);
    host = filled(kBytes, 2);
  }
  EXPECT_EQ(buffer.read(), filled(kBytes, 1));
}

TEST_F(MemoryTest, PinnedMemoryIsReadWhenTheStreamGetsThere) {
  const DeviceBuffer buffer(kBytes);
  PinnedBuffer pinned(kBytes, 1);
  auto registered = filled(kBytes, 1);
  ASSERT_EQ(cudaHostRegister(registered.data(), kBytes, 0), cudaSuccess);
  for (const bool is_registered : {false, true}) {
    void* const source = is_registered ? registered.data() : pinned.get();
    {
      Gate gate(nullptr);
      ASSERT_EQ(cudaMemcpyAsync(buffer.get(), source, kBytes, cudaMemcpyDefault, nullptr),
                cudaSuccess);
      pinned.fill(2);
      std::fill(registered.begin(), registered.end(), static_cast<unsigned char>(2));
    }
    EXPECT_EQ(buffer.read(), filled(kBytes, 2));
    pinned.fill(1);
  }
  ASSERT_EQ(cudaHostUnregister(registered.data()), cudaSuccess);
}

TEST_F(MemoryTest, ACopyToPageableMemoryIsDoneWhenTheCallReturns) {
  const DeviceBuffer buffer(kBytes);
  ASSERT_EQ(cudaMemsetAsync(buffer.get(), 3, kBytes, nullptr), cudaSuccess);
  auto host = filled(kBytes, 0);
  ASSERT_EQ(cudaMemcpyAsync(host.data(), buffer.get(), kBytes, cudaMemcpyDefault, nullptr),
            cudaSuccess);
  EXPECT_EQ(host, filled(kBytes, 3));
}

TEST_F(MemoryTest, ACopyToPinnedMemoryIsUnderWayWhenTheCallReturns) {
  const DeviceBuffer buffer(kBytes);
  const PinnedBuffer pinned(kBytes, 0);
  Gate gate(nullptr);
  ASSERT_EQ(cudaMemsetAsync(buffer.get(), 3, kBytes, nullptr), cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(pinned.get(), buffer.get(), kBytes, cudaMemcpyDefault, nullptr),
            cudaSuccess);
  EXPECT_EQ(pinned.read(), filled(kBytes, 0));
  gate.open();
  ASSERT_EQ(cudaStreamSynchronize(nullptr), cudaSuccess);
  EXPECT_EQ(pinned.read(), filled(kBytes, 3));
}

TEST_F(MemoryTest, APointerSaysWhatItIs) {
  const auto type_of = [](const void* address) {
    cudaPointerAttributes attributes;
    EXPECT_EQ(cudaPointerGetAttributes(&attributes, address), cudaSuccess);
    return std::pair(attributes.type, attributes.device);
  };
  const DeviceBuffer buffer(kBytes);
  const PinnedBuffer pinned(kBytes, 0);
  std::vector<char> host(kBytes);
  EXPECT_EQ(type_of(buffer.at(kBytes - 1)), std::pair(cudaMemoryTypeDevice, 0));
  EXPECT_EQ(type_of(pinned.get()), std::pair(cudaMemoryTypeHost, 0));
  EXPECT_EQ(type_of(host.data()).first, cudaMemoryTypeUnregistered);
  ASSERT_EQ(cudaHostRegister(host.data(), kBytes, 0), cudaSuccess);
  EXPECT_EQ(cudaHostRegister(host.data(), kBytes, 0), cudaErrorHostMemoryAlreadyRegistered);
  EXPECT_EQ(type_of(host.data()).first, cudaMemoryTypeHost);
  ASSERT_EQ(cudaHostUnregister(host.data()), cudaSuccess);
  EXPECT_EQ(cudaHostUnregister(host.data()), cudaErrorHostMemoryNotRegistered);
  cudaGetLastError();
}

TEST_F(MemoryTest, DevicesHaveMemoryOfTheirOwn) {
  int count = 0;
  ASSERT_EQ(cudaGetDeviceCount(&count), cudaSuccess);
  ASSERT_GE(count, 2);
  EXPECT_EQ(cudaSetDevice(count), cudaErrorInvalidDevice);
  const DeviceBuffer here(kBytes);
  ASSERT_EQ(cudaSetDevice(1), cudaSuccess);
  const DeviceBuffer there(kBytes);
  cudaPointerAttributes attributes;
  ASSERT_EQ(cudaPointerGetAttributes(&attributes, there.get()), cudaSuccess);
  EXPECT_EQ(attributes.device, 1);
  ASSERT_EQ(cudaMemset(there.get(), 5, kBytes), cudaSuccess);
  ASSERT_EQ(cudaMemcpyPeerAsync(here.get(), 0, there.get(), 1, kBytes, nullptr), cudaSuccess);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_EQ(here.read(), filled(kBytes, 5));
  cudaGetLastError();
}

TEST_F(MemoryTest, CallsAndBytesAreCounted) {
  const uint64_t held = attached()->counters().device_bytes;
  {
    const DeviceBuffer one(kBytes);
    const DeviceBuffer two(kBytes);
    const PinnedBuffer pinned(kBytes, 0);
    ASSERT_EQ(cudaMemcpy(one.get(), pinned.get(), 1000, cudaMemcpyHostToDevice), cudaSuccess);
    ASSERT_EQ(cudaMemcpy(two.get(), one.get(), 100, cudaMemcpyDeviceToDevice), cudaSuccess);
    ASSERT_EQ(cudaMemcpy(pinned.get(), two.get(), 10, cudaMemcpyDeviceToHost), cudaSuccess);
    ASSERT_EQ(cudaMemset(two.get(), 0, 1), cudaSuccess);
  }
  const Counters counters = attached()->counters();
  EXPECT_EQ(counters.h2d_calls, 1);
  EXPECT_EQ(counters.h2d_bytes, 1000);
  EXPECT_EQ(counters.d2d_bytes, 100);
  EXPECT_EQ(counters.d2h_bytes, 10);
  EXPECT_EQ(counters.memset_bytes, 1);
  EXPECT_EQ(counters.device_allocations, 2);
  EXPECT_EQ(counters.device_bytes, held);
  EXPECT_EQ(counters.device_bytes_peak, held + 2 * kBytes);
  EXPECT_EQ(counters.pinned_bytes, 0);
  EXPECT_EQ(counters.pinned_bytes_peak, kBytes);
}

TEST_F(MemoryTest, WhatIsNotEmulatedAbortsWithItsName) {
  void* address = nullptr;
  EXPECT_DEATH(cudaMallocManaged(&address, kBytes, cudaMemAttachGlobal),
               "fakescore emulation: cudaMallocManaged is not emulated");
}

}  // namespace
}  // namespace fakescore::emulation
