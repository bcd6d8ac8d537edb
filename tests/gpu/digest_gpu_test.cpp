#include <gtest/gtest.h>
#include <torch/torch.h>

#include "fakescore/tensor/digest.hpp"
#include "gpu/gpu_environment.hpp"
#include "support/rank_environment.hpp"

namespace fakescore {
namespace {

using testing::rank_device;
using testing::run_on_every_rank;

TEST(GpuDigest, EqualsTheHostsForEveryLength) {
  run_on_every_rank([](Communicator&) {
    const auto bytes = torch::randint(256, {5'000'000}, torch::kLong).to(torch::kUInt8);
    for (const int64_t length : {0, 1, 7, 8, 9, 255, 4096, 32'768, 32'769, 5'000'000}) {
      const auto host = bytes.narrow(0, 0, length);
      EXPECT_EQ(digest_tensor(host.to(rank_device())), digest_tensor(host)) << length;
    }
  });
}

TEST(GpuDigest, DoesNotDependOnAlignmentOrLayout) {
  run_on_every_rank([](Communicator&) {
    const auto bytes = torch::randint(256, {10'000}, torch::kLong).to(torch::kUInt8);
    const auto on_gpu = bytes.to(rank_device());
    for (const int64_t offset : {1, 3, 4, 5}) {
      EXPECT_EQ(digest_tensor(on_gpu.narrow(0, offset, 9000)),
                digest_tensor(bytes.narrow(0, offset, 9000)))
          << offset;
    }
    const auto image = torch::randn({4, 3, 5, 6}).contiguous(torch::MemoryFormat::ChannelsLast);
    EXPECT_EQ(digest_tensor(image.to(rank_device())), digest_tensor(image));
  });
}

TEST(GpuDigest, TakesManyTensorsOfBothKinds) {
  run_on_every_rank([](Communicator&) {
    std::vector<at::Tensor> tensors;
    std::vector<Digest> expected;
    for (int i = 0; i < 200; ++i) {
      const auto tensor = torch::randn({i});
      expected.push_back(digest_tensor(tensor));
      tensors.push_back(i % 2 == 0 ? tensor : tensor.to(rank_device()));
    }
    EXPECT_EQ(digest_tensors(tensors), expected);
  });
}

}  // namespace
}  // namespace fakescore
