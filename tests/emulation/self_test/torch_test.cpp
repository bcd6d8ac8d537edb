// LibTorch's CUDA half, unmodified, on the emulated devices.
#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAEvent.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "emulation.hpp"
#include "self_test/gate.hpp"

namespace fakescore::emulation {
namespace {

namespace allocator = c10::cuda::CUDACachingAllocator;

const auto kOnDevice = at::device(at::kCUDA).dtype(at::kFloat);
const auto kPinned = at::TensorOptions().dtype(at::kFloat).pinned_memory(true);
constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);

class TorchTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(is_active()) << "the emulation is not preloaded"; }

  const at::Tensor values = at::arange(1, 1001, at::kFloat).view({10, 100});
};

TEST_F(TorchTest, SeesTheDevices) {
  EXPECT_EQ(at::cuda::device_count(), 4);
  EXPECT_EQ(std::string(at::cuda::getDeviceProperties(3)->name), "emulated CUDA device");
}

TEST_F(TorchTest, CopiesPageableMemory) {
  const at::Tensor on_device = values.to(at::kCUDA);
  EXPECT_TRUE(on_device.cpu().equal(values));
}

TEST_F(TorchTest, APinnedCopyIsAsynchronous) {
  const auto stream = c10::cuda::getStreamFromPool();
  const at::Tensor pinned = values.pin_memory();
  EXPECT_TRUE(pinned.is_pinned());
  EXPECT_FALSE(values.is_pinned());
  at::Tensor on_device = at::zeros_like(values, kOnDevice);
  at::Tensor back = at::zeros_like(values, kPinned);
  const c10::cuda::CUDAStreamGuard guard(stream);
  at::cuda::CUDAEvent done;
  {
    Gate gate(stream.stream());
    on_device.copy_(pinned, /*non_blocking=*/true);
    back.copy_(on_device, true);
    done.record(stream);
    EXPECT_FALSE(done.query());
    EXPECT_TRUE(back.equal(at::zeros_like(values)));
  }
  done.synchronize();
  EXPECT_TRUE(back.equal(values));
}

TEST_F(TorchTest, PoolStreamsDoNotWaitForTheDefaultStream) {
  const auto stream = c10::cuda::getStreamFromPool();
  Gate gate(c10::cuda::getDefaultCUDAStream().stream());
  at::Tensor on_device;
  {
    const c10::cuda::CUDAStreamGuard guard(stream);
    on_device = at::empty_like(values, kOnDevice);
    on_device.copy_(values.pin_memory(), true);
    stream.synchronize();
  }
  EXPECT_TRUE(stream.query());
  EXPECT_FALSE(c10::cuda::getDefaultCUDAStream().query());
}

TEST_F(TorchTest, ARecordedStreamKeepsTheMemory) {
  const auto stream = c10::cuda::getStreamFromPool();
  at::Tensor on_device = values.to(at::kCUDA);
  const void* const address = on_device.data_ptr();
  Gate gate(stream.stream());
  on_device.record_stream(stream);
  on_device = at::Tensor();
  on_device = at::empty_like(values, kOnDevice);
  EXPECT_NE(on_device.data_ptr(), address) << "the memory is still in use";
}

struct CopyCase {
  const char* name;
  at::Tensor (*from)(const at::Tensor& values);  ///< a view or cast of the source
  at::ScalarType to_type;
  bool is_transposed;  ///< whether the destination is
};

class CopyTest : public ::testing::TestWithParam<CopyCase> {};

/// Every way between host and device gives what the same copy on the CPU does.
TEST_P(CopyTest, EqualsTheSameCopyOnTheCpu) {
  const CopyCase& copy = GetParam();
  const at::Tensor values = at::arange(1, 101, at::kFloat).view({10, 10});
  const auto run = [&](at::Device from_device, at::Device to_device, bool non_blocking) {
    // Inside a larger tensor, so that offsets and what must stay untouched are seen as well.
    const at::Tensor whole = at::cat({values, values}).to(from_device);
    at::Tensor target = at::zeros({30, 10}, at::device(to_device).dtype(copy.to_type));
    at::Tensor part = target.narrow(0, 10, 10);
    if (copy.is_transposed) part = part.t();
    part.copy_(copy.from(whole.narrow(0, 5, 10)), non_blocking);
    return target.cpu();
  };
  const at::Tensor expected = run(at::kCPU, at::kCPU, false);
  const at::Device device(at::kCUDA, 0);
  const at::Device other(at::kCUDA, 1);
  for (const bool non_blocking : {false, true}) {
    EXPECT_TRUE(run(at::kCPU, device, non_blocking).equal(expected));
    EXPECT_TRUE(run(device, device, non_blocking).equal(expected));
    EXPECT_TRUE(run(device, other, non_blocking).equal(expected));
  }
  EXPECT_TRUE(run(device, at::kCPU, false).equal(expected));
}

at::Tensor as_is(const at::Tensor& values) { return values; }
at::Tensor transposed(const at::Tensor& values) { return values.t(); }
at::Tensor one_row(const at::Tensor& values) { return values[0]; }
at::Tensor every_other(const at::Tensor& values) {
  return values.slice(1, 0, 10, 2).repeat({1, 2});
}

INSTANTIATE_TEST_SUITE_P(
    All, CopyTest,
    ::testing::Values(CopyCase{"plain", as_is, at::kFloat, false},
                      CopyCase{"cast", as_is, at::kBFloat16, false},
                      CopyCase{"widened", as_is, at::kDouble, false},
                      CopyCase{"from_transposed", transposed, at::kFloat, false},
                      CopyCase{"to_transposed", as_is, at::kFloat, true},
                      CopyCase{"cast_and_transposed", transposed, at::kHalf, true},
                      CopyCase{"broadcast", one_row, at::kFloat, false},
                      CopyCase{"broadcast_and_cast", one_row, at::kLong, false},
                      CopyCase{"slices", every_other, at::kInt, false}),
    [](const auto& test) { return std::string(test.param.name); });

TEST_F(TorchTest, ACastOnTheDeviceKeepsItsPlaceInTheStream) {
  const auto stream = c10::cuda::getStreamFromPool();
  const at::Tensor pinned = values.pin_memory();
  // The zeros too: nothing would order another stream's with the copies.
  const c10::cuda::CUDAStreamGuard guard(stream);
  at::Tensor wide = at::zeros_like(values, kOnDevice);
  at::Tensor narrow = at::zeros_like(values, kOnDevice.dtype(at::kBFloat16));
  {
    Gate gate(stream.stream());
    wide.copy_(pinned, true);
    narrow.copy_(wide);
    EXPECT_FALSE(stream.query());
  }
  EXPECT_TRUE(narrow.cpu().equal(values.to(at::kBFloat16)));
}

TEST_F(TorchTest, OutOfMemoryIsAnErrorThatOneRecoversFrom) {
  allocator::emptyCache();
  const auto before = allocator::getDeviceStats(0);
  std::vector<at::Tensor> tensors;
  const auto fill_up = [&] {
    for (;;) tensors.push_back(at::empty({64 << 20}, kOnDevice.dtype(at::kByte)));
  };
  EXPECT_THROW(fill_up(), c10::OutOfMemoryError);
  EXPECT_GE(tensors.size(), 4);
  const auto after = allocator::getDeviceStats(0);
  EXPECT_EQ(after.num_ooms, before.num_ooms + 1);
  tensors.clear();
  allocator::emptyCache();
  EXPECT_TRUE(values.to(at::kCUDA).cpu().equal(values));
}

TEST_F(TorchTest, TheAllocatorsStatisticsAreThoseOfTheDevice) {
  allocator::emptyCache();
  const uint64_t base = attached()->counters().device_bytes;
  allocator::resetPeakStats(0);
  attached()->reset_counters();
  constexpr int64_t kBytes = 32 << 20;
  { const at::Tensor tensor = at::empty({kBytes}, kOnDevice.dtype(at::kByte)); }
  const auto stats = allocator::getDeviceStats(0);
  EXPECT_EQ(stats.allocated_bytes[kAll].peak - stats.allocated_bytes[kAll].current, kBytes);
  EXPECT_EQ(attached()->counters().device_bytes_peak, base + kBytes);
  EXPECT_EQ(attached()->counters().device_allocations, 1);
  allocator::emptyCache();
  EXPECT_EQ(attached()->counters().device_bytes, base);
}

TEST_F(TorchTest, TheAllocatorTriesAgainOnceBeforeItGivesUp) {
  const auto allocate = [] { return at::empty({48 << 20}, kOnDevice.dtype(at::kByte)); };
  attached()->fail_allocations(1, 1);
  EXPECT_NO_THROW(allocate());
  allocator::emptyCache();
  attached()->fail_allocations(1, 2);
  EXPECT_THROW(allocate(), c10::OutOfMemoryError);
  EXPECT_NO_THROW(allocate());
}

TEST_F(TorchTest, OperatorsGiveWhatTheyGiveOnTheCpu) {
  const auto check = [&](const char* name, const auto& compute) {
    const at::Tensor expected = compute(values);
    const at::Tensor result = compute(values.to(at::kCUDA));
    EXPECT_TRUE(result.is_cuda()) << name;
    EXPECT_TRUE(result.cpu().equal(expected)) << name;
  };
  check("add", [](const at::Tensor& x) { return x + 1; });
  check("matmul", [](const at::Tensor& x) { return at::matmul(x, x.t()); });
  check("sum", [](const at::Tensor& x) { return x.sum(1); });
  check("cat", [](const at::Tensor& x) { return at::cat({x, x}, 1); });
  check("view of a permutation", [](const at::Tensor& x) { return x.t().reshape({-1}); });
  check("index", [](const at::Tensor& x) { return x.index({x.select(1, 0) > 300}); });
  check("comparison", [](const at::Tensor& x) { return x.gt(500); });
  check("fill", [](const at::Tensor& x) { return at::full_like(x, 2.5).to(at::kBFloat16); });
  check("in place", [](const at::Tensor& x) { return x.clone().mul_(2).narrow(0, 1, 3).zero_(); });
  check("layer_norm", [](const at::Tensor& x) { return at::layer_norm(x, {100}); });
  check("lists of tensors", [](const at::Tensor& x) {
    std::vector<at::Tensor> list{x.clone(), x.clone()};
    at::_foreach_mul_(list, 3);
    return list[1];
  });
  EXPECT_EQ(values.to(at::kCUDA)[9][99].item<float>(), 1000);
  EXPECT_TRUE(values.to(at::kCUDA).equal(values.to(at::kCUDA)));
}

TEST_F(TorchTest, OperatorsCountNoCopies) {
  const at::Tensor x = values.to(at::kCUDA);
  attached()->reset_counters();
  const at::Tensor narrow = (x + 1).to(at::kBFloat16);
  const Counters counters = attached()->counters();
  EXPECT_EQ(counters.h2d_calls + counters.d2h_calls + counters.d2d_calls, 0);
  EXPECT_EQ(counters.kernel_launches, 1) << "the cast";
  const at::Tensor back = narrow.cpu();
  EXPECT_EQ(attached()->counters().d2h_bytes, back.nbytes());
}

TEST_F(TorchTest, GradientsFlow) {
  const at::Tensor x = values.to(at::kCUDA).requires_grad_();
  (x * x).sum().backward();
  EXPECT_TRUE(x.grad().cpu().equal(2 * values));
}

TEST_F(TorchTest, OperatorsKeepTheirPlaceInTheCurrentStream) {
  const auto stream = c10::cuda::getStreamFromPool();
  const at::Tensor pinned = values.pin_memory();
  const c10::cuda::CUDAStreamGuard guard(stream);
  for (int i = 0; i < 10; ++i) {
    at::Tensor on_device = at::zeros_like(values, kOnDevice);
    on_device.copy_(pinned, true);
    on_device.add_(1);
    on_device.mul_(on_device);
    EXPECT_TRUE(on_device.cpu().equal((values + 1) * (values + 1)));
  }
}

/// In a process of its own, since contexts stay. LibTorch takes care to make no other.
void use_device_one_alone() {
  const at::Device device(at::kCUDA, 1);
  const at::Tensor values = at::arange(100, at::kFloat);
  // First of all: pinning uses a context that is there, and else makes one of the current device.
  at::Tensor on_device = values.to(device);
  on_device = values.pin_memory().to(device, /*non_blocking=*/true);
  on_device = (on_device + 1).to(at::kBFloat16);
  const auto stream = c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index());
  {
    at::cuda::CUDAEvent event;
    event.record(stream);
    event.synchronize();
  }
  const bool is_right = on_device.cpu().equal((values + 1).to(at::kBFloat16));
  on_device = at::Tensor();
  allocator::emptyCache();
  const bool is_known = c10::cuda::hasPrimaryContext(1) && !c10::cuda::hasPrimaryContext(0);
  std::fprintf(stderr, "right %d, known %d, contexts %d\n", is_right, is_known,
               static_cast<int>(attached()->counters().contexts));
  std::_Exit(is_right && is_known && attached()->counters().contexts == 1 ? 0 : 1);
}

TEST_F(TorchTest, OneDeviceAloneHasOneContext) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(use_device_one_alone(), ::testing::ExitedWithCode(0), "");
}

TEST_F(TorchTest, DevicesWorkTogether) {
  const at::Tensor here = values.to(at::Device(at::kCUDA, 0));
  const at::Tensor there = here.to(at::Device(at::kCUDA, 1));
  EXPECT_EQ(there.device().index(), 1);
  const at::Tensor sum = there + 1;
  EXPECT_EQ(sum.device().index(), 1);
  EXPECT_TRUE(sum.to(at::Device(at::kCUDA, 0)).cpu().equal(values + 1));
  EXPECT_EQ(c10::cuda::current_device(), 0);
}

}  // namespace
}  // namespace fakescore::emulation
