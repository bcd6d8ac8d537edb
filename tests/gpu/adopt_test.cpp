#include <c10/cuda/CUDAStream.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstring>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "fakescore/comm/adopt_c10d.hpp"
#include "fakescore/comm/adopt_nccl.hpp"
#include "fakescore/core/module_tensors.hpp"
#include "fakescore/factory/fake_score_meta.hpp"
#include "fakescore/sync/sync_module_states.hpp"
#include "gpu/gpu_environment.hpp"
#include "support/error_of.hpp"
#include "support/rank_environment.hpp"
#include "support/tensor_checks.hpp"
#include "support/tiny_models.hpp"

namespace fakescore {
namespace {

using testing::AwkwardModule;
using testing::bit_equal;
using ::testing::HasSubstr;
using testing::rank_device;
using testing::run_on_every_rank;

constexpr std::chrono::seconds kTimeout(60);

std::unique_ptr<Communicator> control() { return make_communicator(detect_launch_env(), kTimeout); }

/// What a host job would have made itself.
ncclComm_t make_nccl(Communicator& communicator) {
  ncclUniqueId id{};
  if (communicator.rank() == 0) {
    EXPECT_EQ(ncclGetUniqueId(&id), ncclSuccess);
  }
  const std::string bytes = communicator.broadcast_message(
      std::string(id.internal, sizeof id.internal), 0, "the host job's id");
  std::memcpy(id.internal, bytes.data(), sizeof id.internal);
  const c10::DeviceGuard guard(rank_device());
  ncclComm_t comm = nullptr;
  EXPECT_EQ(ncclCommInitRank(&comm, communicator.world_size(), id, communicator.rank()),
            ncclSuccess);
  return comm;
}

c10::intrusive_ptr<c10d::ProcessGroup> make_process_group(Communicator& communicator) {
  c10d::TCPStoreOptions options;
  options.isServer = communicator.rank() == 0;
  options.waitWorkers = false;
  options.port = 0;
  c10::intrusive_ptr<c10d::TCPStore> store;
  if (communicator.rank() == 0) store = c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options);
  const std::string port = communicator.broadcast_message(
      store ? std::to_string(store->getPort()) : "", 0, "the host job's port");
  options.port = static_cast<uint16_t>(std::stoi(port));
  if (!store) store = c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options);

  const int rank = communicator.rank();
  const int size = communicator.world_size();
  auto group = c10::make_intrusive<c10d::ProcessGroup>(store, rank, size);
  group->setBackend(at::kCUDA, c10d::ProcessGroup::BackendType::NCCL,
                    c10::make_intrusive<c10d::ProcessGroupNCCL>(
                        store, rank, size, c10d::ProcessGroupNCCL::Options::create()));
  return group;
}

std::shared_ptr<AwkwardModule> make_seeded(int seed) {
  torch::manual_seed(seed);
  return std::make_shared<AwkwardModule>();
}

/// The whole job over an adopted communicator.
void expect_fake_score_over(Communicator& adopted) {
  const auto teacher = make_seeded(3);
  MetaOptions options;
  options.verify = true;
  options.bucket_bytes = 200'000;
  const auto source =
      adopted.rank() == 0 ? TeacherSource::module(teacher) : TeacherSource::path("/nonexistent");
  const MetaResult result = create_fake_score_meta([] { return std::make_shared<AwkwardModule>(); },
                                                   source, adopted, options);
  const auto want = module_tensors(*teacher);
  const auto got = module_tensors(*result.module);
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_TRUE(got[i].tensor.is_cuda()) << want[i].name;
    EXPECT_TRUE(bit_equal(want[i].tensor.contiguous(), got[i].tensor.cpu().contiguous()))
        << want[i].name;
  }
}

TEST(AdoptNccl, MovesTheBytesAndLeavesTheHostJobsCommunicatorAlone) {
  run_on_every_rank([](Communicator& communicator) {
    const ncclComm_t comm = make_nccl(communicator);
    const auto stream = c10::cuda::getStreamFromPool(false, rank_device().index());
    {
      const auto adopted = adopt_nccl_communicator(comm, stream.stream(), control(), rank_device());
      expect_fake_score_over(*adopted);
    }
    int ranks = 0;
    EXPECT_EQ(ncclCommCount(comm, &ranks), ncclSuccess);
    EXPECT_EQ(ranks, communicator.world_size());
    EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
  });
}

TEST(AdoptNccl, OrdersItsStreamWithTheCallers) {
  run_on_every_rank([](Communicator& communicator) {
    const ncclComm_t comm = make_nccl(communicator);
    const auto stream = c10::cuda::getStreamFromPool(false, rank_device().index());
    {
      const auto adopted = adopt_nccl_communicator(comm, stream.stream(), control(), rank_device());
      auto buffer = torch::zeros({1 << 20}, torch::dtype(torch::kUInt8).device(rank_device()));
      for (int i = 0; i < 20; ++i) {
        buffer.fill_(communicator.rank() == 0 ? i : 255);  // before, on the caller's stream
        const auto pending = adopted->start_broadcast(buffer, 0, "buffer");
        const auto seen = buffer.clone();  // after, on the caller's stream
        pending->wait();
        EXPECT_TRUE((seen.cpu() == i).all().item<bool>()) << i;
      }
    }
    EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
  });
}

TEST(AdoptNccl, RefusesACommunicatorOfOthers) {
  run_on_every_rank([](Communicator& communicator) {
    const ncclComm_t comm = make_nccl(communicator);
    const auto stream = c10::cuda::getStreamFromPool(false, rank_device().index());
    const auto other = static_cast<at::DeviceIndex>(rank_device().index() + 1);
    EXPECT_THAT(testing::error_of<ConfigError>([&] {
                  adopt_nccl_communicator(comm, stream.stream(), control(),
                                          at::Device(at::kCUDA, other));
                }),
                HasSubstr("on GPU " + std::to_string(rank_device().index())));
    EXPECT_THAT(testing::error_of<ConfigError>([&] {
                  adopt_nccl_communicator(nullptr, stream.stream(), control(), rank_device());
                }),
                HasSubstr("is null"));
    EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
  });
}

TEST(AdoptProcessGroup, MovesTheBytesOverProcessGroupNccl) {
  run_on_every_rank([](Communicator& communicator) {
    const auto group = make_process_group(communicator);
    {
      const auto adopted = adopt_process_group(group, rank_device(), nullptr, kTimeout);
      expect_fake_score_over(*adopted);
      adopted->all_gather("", "every rank is done with the store");
    }
    communicator.all_gather("", "before the group goes");
  });
}

TEST(AdoptProcessGroup, RefusesANullGroup) {
  run_on_every_rank([](Communicator&) {
    EXPECT_THAT(testing::error_of<ConfigError>([] { adopt_process_group({}, rank_device()); }),
                HasSubstr("process group: is null"));
  });
}

}  // namespace
}  // namespace fakescore
