#include "fakescore/comm/communicator.hpp"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "fakescore/error.hpp"
#include "support/rank_environment.hpp"

namespace fakescore {
namespace {

using testing::run_on_every_rank;

TEST(Communicator, GathersMessagesOfAnyLength) {
  run_on_every_rank([](Communicator& comm) {
    for (const size_t unit : {size_t{0}, size_t{1}, size_t{100'000}}) {
      const size_t rank = static_cast<size_t>(comm.rank());
      const auto all = comm.all_gather(std::string(rank * unit, 'x'), "lengths");
      ASSERT_EQ(all.size(), static_cast<size_t>(comm.world_size()));
      for (size_t peer = 0; peer < all.size(); ++peer) {
        EXPECT_EQ(all[peer].size(), peer * unit);
      }
    }
  });
}

TEST(Communicator, ComparesValuesOfAnyLengthWithThoseOfRank0) {
  run_on_every_rank([](Communicator& comm) {
    const int last = comm.world_size() - 1;
    for (const size_t length : {size_t{0}, size_t{100}, size_t{10'000}, size_t{20} << 20}) {
      const std::string same(length, 'x');
      EXPECT_TRUE(comm.compare(same, "same").is_same());
      const std::string own = comm.rank() == last ? same + "y" : same;
      const Comparison found = comm.compare(own, "other");
      EXPECT_EQ(found.other_rank, last == 0 ? -1 : last);
      EXPECT_EQ(found.of_rank_0, last == 0 ? same + "y" : same);
      EXPECT_EQ(found.of_other_rank, last == 0 ? "" : same + "y");
    }
  });
}

TEST(Communicator, ComparingNamesTheLowestRankThatDiffers) {
  run_on_every_rank([](Communicator& comm) {
    const Comparison found = comm.compare(std::to_string(comm.rank()), "ranks");
    EXPECT_EQ(found.of_rank_0, "0");
    EXPECT_EQ(found.other_rank, comm.world_size() == 1 ? -1 : 1);
  });
}

TEST(Communicator, BroadcastsMessagesFromEveryRoot) {
  run_on_every_rank([](Communicator& comm) {
    for (int root = 0; root < comm.world_size(); ++root) {
      const std::string message = comm.rank() == root ? std::string("from\0root", 9) : "ignored";
      EXPECT_EQ(comm.broadcast_message(message, root, "plan"), std::string("from\0root", 9));
      // More than a TCPStore takes at once.
      const std::string longest(size_t{10} << 20, static_cast<char>('a' + root));
      EXPECT_EQ(comm.broadcast_message(comm.rank() == root ? longest : "", root, "longest"),
                longest);
    }
  });
}

TEST(Communicator, KeepsManyBroadcastsInFlight) {
  run_on_every_rank([](Communicator& comm) {
    const std::vector<int64_t> lengths{0, 1, 1 << 20, (1 << 20) + 1, 5 << 20, 17, 3 << 20};
    std::vector<at::Tensor> buffers;
    std::vector<std::unique_ptr<PendingBroadcast>> pending;
    for (size_t i = 0; i < lengths.size(); ++i) {
      const int root = static_cast<int>(i) % comm.world_size();
      const uint8_t fill = static_cast<uint8_t>(comm.rank() == root ? i + 1 : 0);
      buffers.push_back(torch::full({lengths[i]}, fill, torch::kUInt8));
      pending.push_back(comm.start_broadcast(buffers[i], root, "tensor"));
    }
    for (auto& broadcast : pending) broadcast->wait();
    for (size_t i = 0; i < lengths.size(); ++i) {
      EXPECT_TRUE((buffers[i] == static_cast<int>(i + 1)).all().item<bool>()) << i;
    }
    comm.all_gather("", "after");
  });
}

TEST(Communicator, ABroadcastMayBeWaitedForAfterTheRanksHaveMet) {
  run_on_every_rank([](Communicator& communicator) {
    const auto buffer = torch::full({100'000}, communicator.rank() == 0 ? 3 : 0, torch::kUInt8);
    const auto pending = communicator.start_broadcast(buffer, 0, "buffer");
    EXPECT_TRUE(communicator.compare("same", "meanwhile").is_same());
    pending->wait();
    EXPECT_TRUE((buffer == 3).all().item<bool>());
  });
}

TEST(Communicator, TakesTheLongestTimeout) {
  run_on_every_rank([](Communicator& comm) {
    const auto before = comm.timeout();
    comm.set_timeout(std::chrono::milliseconds::max());
    EXPECT_EQ(comm.all_gather("", "forever").size(), static_cast<size_t>(comm.world_size()));
    EXPECT_EQ(comm.broadcast_message("x", 0, "forever"), "x");
    auto buffer = torch::zeros({1 << 20}, torch::kUInt8);
    comm.start_broadcast(buffer, 0, "forever")->wait();
    EXPECT_EQ(comm.timeout(), Communicator::kLongestTimeout);
    comm.set_timeout(before);
  });
}

TEST(Communicator, RefusesBadRootsAndBuffersEverywhere) {
  run_on_every_rank([](Communicator& comm) {
    EXPECT_THROW(comm.broadcast_message("", comm.world_size(), "x"), ConfigError);
    EXPECT_THROW(comm.start_broadcast(torch::zeros({2}), 0, "x"), ConfigError);
    EXPECT_FALSE(comm.broken());
    EXPECT_EQ(comm.all_gather("", "still in step").size(), static_cast<size_t>(comm.world_size()));
  });
}

}  // namespace
}  // namespace fakescore
