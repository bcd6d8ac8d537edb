#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <chrono>
#include <thread>

#include "emulation/emulation.hpp"
#include "fakescore/comm/make_communicator.hpp"
#include "fakescore/error.hpp"
#include "gpu/gpu_environment.hpp"
#include "gpu/host_job.hpp"
#include "support/error_of.hpp"
#include "support/faulty_communicator.hpp"
#include "support/rank_environment.hpp"

namespace fakescore {
namespace {

using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;
using testing::rank_device;
using testing::run_on_every_rank;

at::Tensor filled(int64_t bytes, int value) {
  return torch::full({bytes}, value, torch::dtype(torch::kUInt8).device(rank_device()));
}

bool all_equal(const at::Tensor& tensor, int value) {
  return (tensor.cpu() == value).all().item<bool>();
}

TEST(NcclCommunicator, SaysWhatItIs) {
  run_on_every_rank([](Communicator& communicator) {
    EXPECT_THAT(communicator.backend(), HasSubstr("nccl over "));
    EXPECT_TRUE(communicator.device().is_cuda());
  });
}

TEST(NcclCommunicator, KeepsManyGroupsInFlight) {
  run_on_every_rank([](Communicator& communicator) {
    const std::vector<int64_t> lengths{0, 1, 1 << 20, (1 << 20) + 1, 17, 3 << 20};
    std::vector<std::vector<at::Tensor>> groups;
    std::vector<std::unique_ptr<PendingOperation>> pending;
    for (int i = 0; i < 5; ++i) {
      const int root = i % communicator.world_size();
      const int fill = communicator.rank() == root ? i + 1 : 0;
      groups.emplace_back();
      for (const int64_t length : lengths) groups.back().push_back(filled(length, fill));
      pending.push_back(communicator.start_broadcast_group(groups.back(), root, "group"));
    }
    for (const auto& broadcast : pending) broadcast->wait();
    for (int i = 0; i < 5; ++i) {
      for (const at::Tensor& buffer : groups[static_cast<size_t>(i)]) {
        EXPECT_TRUE(all_equal(buffer, i + 1)) << "group " << i << " of " << buffer.numel();
      }
    }
  });
}

TEST(NcclCommunicator, KeepsExchangesInFlightBetweenBroadcasts) {
  run_on_every_rank([](Communicator& communicator) {
    const int ranks = communicator.world_size();
    const auto value = [&](int from, int to, int round) { return 1 + 10 * round + 3 * from + to; };
    std::vector<Exchange> exchanges;
    std::vector<std::unique_ptr<PendingOperation>> pending;
    for (int round = 0; round < 6; ++round) {
      // Between all, and from one alone.
      const auto sends = [&](int from) { return round % 2 == 0 || from == round % ranks; };
      Exchange exchange{filled(0, 0), {}, filled(0, 0), {}};
      for (int peer = 0; peer < ranks; ++peer) {
        if (peer == communicator.rank()) continue;
        const auto bytes = [](int from) { return int64_t{1000} << (4 * from); };
        if (sends(communicator.rank())) {
          const int64_t length = bytes(communicator.rank());
          exchange.sends.push_back({peer, length});
          exchange.outgoing = torch::cat(
              {exchange.outgoing, filled(length, value(communicator.rank(), peer, round))});
        }
        if (sends(peer)) {
          exchange.receives.push_back({peer, bytes(peer)});
          exchange.incoming = torch::cat({exchange.incoming, filled(bytes(peer), 0)});
        }
      }
      exchanges.push_back(exchange);
      pending.push_back(communicator.start_exchange(exchange, "parts"));
      pending.push_back(communicator.start_broadcast(filled(1 << 16, round), 0, "tensor"));
    }
    for (const auto& operation : pending) operation->wait();
    for (int round = 0; round < 6; ++round) {
      const Exchange& exchange = exchanges[static_cast<size_t>(round)];
      int64_t begin = 0;
      for (const Parcel& in : exchange.receives) {
        EXPECT_TRUE(all_equal(exchange.incoming.narrow(0, begin, in.bytes),
                              value(in.rank, communicator.rank(), round)))
            << "round " << round << " from " << in.rank;
        begin += in.bytes;
      }
    }
  });
}

/// The root is slow, and what waits for it has long been begun.
TEST(NcclCommunicator, BroadcastsThatEndAreProgressForThoseThatFollow) {
  run_on_every_rank([](Communicator& communicator) {
    if (communicator.world_size() == 1) GTEST_SKIP() << "needs a second rank";
    const int root = communicator.world_size() - 1;
    const bool is_root = communicator.rank() == root;
    // What follows is then no longer begun together.
    communicator.start_broadcast(filled(1, 0), root, "first")->wait();
    const auto timeout = communicator.timeout();
    communicator.set_timeout(std::chrono::seconds(4));
    std::vector<at::Tensor> buffers;
    std::vector<std::unique_ptr<PendingOperation>> pending;
    for (int i = 0; i < 3; ++i) {
      if (is_root) std::this_thread::sleep_for(std::chrono::milliseconds(2400));
      buffers.push_back(filled(1 << 20, is_root ? i + 1 : 0));
      pending.push_back(communicator.start_broadcast(buffers.back(), root, "slow"));
    }
    for (const auto& broadcast : pending) broadcast->wait();
    communicator.set_timeout(timeout);
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(all_equal(buffers[static_cast<size_t>(i)], i + 1));
  });
}

TEST(NcclCommunicator, SendsHostBuffersOverTheControlPlane) {
  run_on_every_rank([](Communicator& communicator) {
    auto buffer = torch::full({100'000}, communicator.rank() == 0 ? 9 : 0, torch::kUInt8);
    communicator.start_broadcast(buffer, 0, "host")->wait();
    EXPECT_TRUE(all_equal(buffer, 9));
  });
}

TEST(NcclCommunicator, RefusesBadRootsAndBuffers) {
  run_on_every_rank([](Communicator& communicator) {
    EXPECT_THROW(communicator.start_broadcast(filled(4, 0), communicator.world_size(), "x"),
                 ConfigError);
    const auto floats = torch::zeros({2}, torch::device(rank_device()));
    EXPECT_THAT(error_of<ConfigError>([&] { communicator.start_broadcast(floats, 0, "x"); }),
                AllOf(HasSubstr("uint8"), HasSubstr("cuda:")));
    EXPECT_FALSE(communicator.broken());
  });
}

TEST(NcclCommunicator, RefusesRanksThatShareAGpu) {
  run_on_every_rank([](Communicator& communicator) {
    if (communicator.world_size() == 1) GTEST_SKIP() << "needs a second rank";
    EXPECT_THAT(error_of<ConfigError>([] {
                  make_communicator(detect_launch_env(), std::chrono::seconds(30),
                                    at::Device(at::kCUDA, 0));
                }),
                AllOf(HasSubstr("ranks 0 and 1 use the same GPU"), HasSubstr("rank 1")));
  });
}

TEST(NcclCommunicator, RefusesADeviceThatIsNotThere) {
  run_on_every_rank([](Communicator&) {
    EXPECT_THAT(error_of<ConfigError>([] {
                  make_communicator(detect_launch_env(), std::chrono::seconds(30),
                                    at::Device(at::kCUDA, 100));
                }),
                HasSubstr("device cuda:100"));
  });
}

TEST(NcclCommunicator, ADeviceThatOneRankDoesNotHaveIsEveryRanksError) {
  run_on_every_rank([](Communicator& communicator) {
    const bool is_last = communicator.rank() == communicator.world_size() - 1;
    const at::Device device = is_last ? at::Device(at::kCUDA, 100) : communicator.device();
    EXPECT_THAT(error_of<ConfigError>([&] {
                  make_communicator(detect_launch_env(), std::chrono::seconds(30), device);
                }),
                HasSubstr("device cuda:100"));
  });
}

TEST(NcclCommunicator, CreatingAndDestroyingLeavesNothing) {
  auto* emulation = emulation::attached();
  run_on_every_rank([&](Communicator& communicator) {
    const auto before = emulation ? emulation->counters() : emulation::Counters{};
    for (int i = 0; i < 5; ++i) {
      auto other =
          make_communicator(detect_launch_env(), std::chrono::seconds(30), communicator.device());
      const auto buffer = filled(1000, other->rank() == 0 ? 7 : 0);
      other->start_broadcast(buffer, 0, "buffer")->wait();
      EXPECT_TRUE(all_equal(buffer, 7));
    }
    if (!emulation) return;  // a real device does not tell
    const auto after = emulation->counters();
    EXPECT_EQ(after.live_communicators, before.live_communicators);
    EXPECT_EQ(after.live_events, before.live_events);
  });
}

/// Makes a second communicator in a job whose last rank is struck before the id is shared. Only
/// NCCL's own setup has `timeout`.
std::string error_of_setup(Communicator& communicator, std::chrono::milliseconds timeout,
                           const std::function<void(Communicator&)>& strike) {
  const auto store = testing::make_host_store(communicator);
  const int last = communicator.world_size() - 1;
  const auto messages = make_store_communicator(
      store, communicator.rank(), communicator.world_size(), "setup", communicator.timeout());
  auto control = testing::make_faulty(*messages, {"nccl id", [&] {
                                                    if (communicator.rank() == last) {
                                                      strike(*messages);
                                                    }
                                                  }});
  control->set_timeout(timeout);
  const std::string text = error_of<CommError>(
      [&] { make_nccl_communicator(std::move(control), communicator.device()); });
  communicator.all_gather("", "every rank is done with the store");
  return text;
}

TEST(NcclCommunicator, ARankThatGivesUpInTheSetupIsHeardOfLongBeforeTheDeadline) {
  run_on_every_rank([](Communicator& communicator) {
    if (communicator.world_size() == 1) GTEST_SKIP() << "needs a second rank";
    const std::string text = error_of_setup(
        communicator, std::chrono::hours(1),
        [](Communicator& control) { throw CommError(control.abandon("the driver is too old")); });
    EXPECT_THAT(text, HasSubstr("the driver is too old"));
    for (const auto& other : communicator.all_gather(text, "test")) EXPECT_EQ(other, text);
  });
}

TEST(NcclCommunicator, ASetupThatARankDoesNotComeToHasADeadline) {
  run_on_every_rank([](Communicator& communicator) {
    if (communicator.world_size() == 1) GTEST_SKIP() << "needs a second rank";
    const std::string text =
        error_of_setup(communicator, std::chrono::seconds(2), [](Communicator&) {
          throw CommError({ErrorCode::kPeerLost, -1, "", "", "gone without a word", ""});
        });
    const int last = communicator.world_size() - 1;
    EXPECT_THAT(text,
                HasSubstr(communicator.rank() == last ? "gone without a word"
                                                      : "rank " + std::to_string(last) + " of"));
  });
}

// The last one: what it leaves behind ends only some seconds later.
TEST(NcclCommunicator, DestructionDoesNotWaitForAnAbortThatTakesLong) {
  auto* emulation = emulation::attached();
  if (emulation == nullptr) GTEST_SKIP() << "only the emulation can make an abort slow";
  run_on_every_rank([&](Communicator& communicator) {
    constexpr std::chrono::seconds kAbort(40);
    // Over a store: mpirun takes a rank that does not finalise MPI, for it lost a peer, for failed.
    const auto store = testing::make_host_store(communicator);
    auto other = make_nccl_communicator(
        make_store_communicator(store, communicator.rank(), communicator.world_size(), "test",
                                std::chrono::seconds(30)),
        communicator.device());
    communicator.all_gather("", "every rank has made it");
    emulation->set_abort_delay(kAbort);
    other->abandon("the test has had enough");
    const auto begin = std::chrono::steady_clock::now();
    other.reset();
    EXPECT_LT(std::chrono::steady_clock::now() - begin, kAbort / 2);
    emulation->set_abort_delay(std::chrono::seconds(0));
    communicator.all_gather("", "every rank is done with the store");
  });
}

}  // namespace
}  // namespace fakescore
