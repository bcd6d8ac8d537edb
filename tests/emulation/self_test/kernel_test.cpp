#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <vector>

#include "emulation.hpp"
#include "self_test/device_buffer.hpp"
#include "self_test/kernels.hpp"

namespace fakescore::emulation {
namespace {

TEST(KernelTest, AHostBodyRunsInPlaceOfTheKernel) {
  constexpr int kCount = 1000;
  const auto body = [](const LaunchShape& shape, const float* input, float* output, int count,
                       float factor) {
    EXPECT_EQ(shape.grid[0] * shape.block[0], 1024);
    for (int i = 0; i < count; ++i) output[i] = factor * input[i];
  };
  attached()->register_kernel_by_name("fakescore::emulation::scale_kernel",
                                      kernel_body<const float*, float*, int, float>(body));
  std::vector<float> values(kCount, 2);
  const DeviceBuffer input(kCount * sizeof(float));
  const DeviceBuffer output(kCount * sizeof(float));
  ASSERT_EQ(cudaMemcpy(input.get(), values.data(), kCount * sizeof(float), cudaMemcpyDefault),
            cudaSuccess);
  attached()->reset_counters();
  scale(static_cast<float*>(input.get()), static_cast<float*>(output.get()), kCount, 3, nullptr);
  ASSERT_EQ(cudaGetLastError(), cudaSuccess);
  ASSERT_EQ(cudaMemcpy(values.data(), output.get(), kCount * sizeof(float), cudaMemcpyDefault),
            cudaSuccess);
  EXPECT_EQ(values, std::vector<float>(kCount, 6));
  EXPECT_EQ(attached()->counters().kernel_launches, 1);
}

TEST(KernelTest, AKernelWithoutAHostBodyIsAnErrorThatNamesIt) {
  ::testing::internal::CaptureStderr();
  launch_bodiless(nullptr);
  EXPECT_EQ(cudaGetLastError(), cudaErrorNoKernelImageForDevice);
  EXPECT_NE(::testing::internal::GetCapturedStderr().find(
                "kernel fakescore::emulation::bodiless_kernel() has no host body"),
            std::string::npos);
}

}  // namespace
}  // namespace fakescore::emulation
