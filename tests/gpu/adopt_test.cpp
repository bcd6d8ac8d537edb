#include <c10/cuda/CUDAStream.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "fakescore/comm/adopt_c10d.hpp"
#include "fakescore/comm/adopt_nccl.hpp"
#include "fakescore/module/create_fake_score_meta.hpp"
#include "fakescore/module/module_source.hpp"
#include "fakescore/module/sync_module_states.hpp"
#include "gpu/busy_stream.hpp"
#include "gpu/gpu_environment.hpp"
#include "gpu/host_job.hpp"
#include "gpu/mixed_module.hpp"
#include "support/error_of.hpp"
#include "support/rank_environment.hpp"
#include "support/seeded_modules.hpp"
#include "support/tiny_models.hpp"

namespace fakescore {
namespace {

using testing::AwkwardModule;
using ::testing::HasSubstr;
using testing::make_host_nccl;
using testing::rank_device;
using testing::run_on_every_rank;

constexpr std::chrono::seconds kTimeout(60);

std::unique_ptr<Communicator> control() { return make_communicator(detect_launch_env(), kTimeout); }

/// The whole job over an adopted communicator.
void expect_fake_score_over(Communicator& adopted) {
  const auto teacher = testing::make_seeded<AwkwardModule>(3);
  MetaOptions options;
  options.verify = true;
  options.bucket_bytes = 200'000;
  const auto source =
      adopted.rank() == 0 ? module_source(teacher) : TeacherSource::path("/nonexistent");
  const MetaResult result = create_fake_score_meta([] { return std::make_shared<AwkwardModule>(); },
                                                   source, adopted, options);
  testing::expect_values(*teacher, *result.module);
}

/// Both ways: the broadcast comes after what the caller's stream was given before, and before what
/// it is given afterwards.
void expect_in_order_with_callers_stream(Communicator& adopted) {
  constexpr int64_t kBytes = 1 << 20;
  const uint8_t own = adopted.rank() == 0 ? 1 : 2;
  const auto late = torch::full({kBytes}, own, torch::kUInt8).pin_memory();
  const auto buffer = torch::zeros({kBytes}, torch::dtype(torch::kUInt8).device(rank_device()));
  testing::BusyStream busy(adopted);
  buffer.copy_(late, /*non_blocking=*/true);
  const auto pending = busy.communicator().start_broadcast(buffer, 0, "buffer");
  const auto seen = buffer.clone();
  pending->wait();
  EXPECT_TRUE((seen.cpu() == 1).all().item<bool>()) << "afterwards";
  EXPECT_TRUE((buffer.cpu() == 1).all().item<bool>()) << "before";
}

TEST(AdoptNccl, MovesTheBytesAndLeavesTheHostJobsCommunicatorAlone) {
  run_on_every_rank([](Communicator& communicator) {
    const ncclComm_t comm = make_host_nccl(communicator, rank_device());
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
    const ncclComm_t comm = make_host_nccl(communicator, rank_device());
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
      expect_in_order_with_callers_stream(*adopted);
    }
    EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
  });
}

TEST(AdoptNccl, RefusesACommunicatorOfOthers) {
  run_on_every_rank([](Communicator& communicator) {
    const ncclComm_t comm = make_host_nccl(communicator, rank_device());
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
    const auto group = testing::make_host_process_group(communicator);
    {
      const auto adopted = adopt_process_group(group, rank_device(), nullptr, kTimeout);
      expect_fake_score_over(*adopted);
      adopted->all_gather("", "every rank is done with the store");
    }
    communicator.all_gather("", "before the group goes");
  });
}

TEST(AdoptProcessGroup, OrdersItsStreamWithTheCallers) {
  run_on_every_rank([](Communicator& communicator) {
    const auto group = testing::make_host_process_group(communicator);
    {
      const auto adopted = adopt_process_group(group, rank_device(), nullptr, kTimeout);
      expect_in_order_with_callers_stream(*adopted);
      adopted->all_gather("", "every rank is done with the store");
    }
    communicator.all_gather("", "before the group goes");
  });
}

TEST(AdoptProcessGroup, SendsWhatLiesInHostMemoryThroughSharedMemory) {
  run_on_every_rank([](Communicator& communicator) {
    const auto group = testing::make_host_process_group(communicator);
    {
      const auto adopted = adopt_process_group(group, rank_device(), nullptr, kTimeout);
      const auto module = testing::make_mixed_module(rank_device(), communicator.rank() + 1);
      sync_module_states(*module, *adopted);
      testing::expect_values(*testing::make_mixed_module(rank_device(), 1), *module);
      EXPECT_TRUE(module->named_buffers()["host"].is_cpu());
      if (adopted->world_size() > 1) {
        EXPECT_EQ(adopted->bulk(at::kCPU).backend(), "shared memory over store");
      }
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
