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
    std::vector<std::unique_ptr<PendingOperation>> pending;
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

/// Bytes that only a sender has for a receiver.
at::Tensor parcel(int from, int to, int64_t bytes) {
  return torch::arange(bytes, torch::kLong).add(7 * from + 31 * to).to(torch::kUInt8);
}

/// What a rank has for each other one, `bytes` long, and room for what they have for it.
template <typename Bytes>
Exchange make_exchange(const Communicator& comm, Bytes bytes) {
  Exchange exchange;
  std::vector<at::Tensor> outgoing{torch::empty({0}, torch::kUInt8)};
  int64_t incoming = 0;
  for (int peer = 0; peer < comm.world_size(); ++peer) {
    if (peer == comm.rank()) continue;
    const int64_t out = bytes(comm.rank(), peer);
    const int64_t in = bytes(peer, comm.rank());
    if (out >= 0) {
      exchange.sends.push_back({peer, out});
      outgoing.push_back(parcel(comm.rank(), peer, out));
    }
    if (in >= 0) exchange.receives.push_back({peer, in});
    incoming += std::max<int64_t>(in, 0);
  }
  exchange.outgoing = torch::cat(outgoing);
  exchange.incoming = torch::zeros({incoming}, torch::kUInt8);
  return exchange;
}

void expect_received(const Communicator& comm, const Exchange& exchange) {
  int64_t begin = 0;
  for (const Parcel& in : exchange.receives) {
    EXPECT_TRUE(torch::equal(exchange.incoming.narrow(0, begin, in.bytes),
                             parcel(in.rank, comm.rank(), in.bytes)))
        << "from " << in.rank;
    begin += in.bytes;
  }
}

TEST(Communicator, ExchangesParcelsOfAnyLengthBetweenAllRanks) {
  run_on_every_rank([](Communicator& comm) {
    const std::vector<int64_t> lengths{0, 1, 1000, (1 << 20) + 1, 3 << 20, -1, 17};
    const auto bytes = [&](int from, int to) {
      return lengths[static_cast<size_t>(5 * from + 3 * to) % lengths.size()];
    };
    for (int round = 0; round < 3; ++round) {
      const Exchange exchange = make_exchange(comm, bytes);
      comm.start_exchange(exchange, "parts")->wait();
      expect_received(comm, exchange);
    }
    comm.all_gather("", "after");
  });
}

TEST(Communicator, KeepsExchangesInFlightBetweenBroadcasts) {
  run_on_every_rank([](Communicator& comm) {
    std::vector<Exchange> exchanges;
    std::vector<at::Tensor> buffers;
    std::vector<std::unique_ptr<PendingOperation>> pending;
    for (int round = 0; round < 6; ++round) {
      const int root = round % comm.world_size();
      // A scatter: more than a store holds of one rank.
      exchanges.push_back(make_exchange(
          comm, [&](int from, int) { return from == root ? int64_t{5} << 20 : int64_t{-1}; }));
      pending.push_back(comm.start_exchange(exchanges.back(), "parts"));
      buffers.push_back(torch::full({1 << 20}, comm.rank() == root ? round : 99, torch::kUInt8));
      pending.push_back(comm.start_broadcast(buffers.back(), root, "tensor"));
    }
    for (auto& operation : pending) operation->wait();
    for (int round = 0; round < 6; ++round) {
      expect_received(comm, exchanges[static_cast<size_t>(round)]);
      EXPECT_TRUE((buffers[static_cast<size_t>(round)] == round).all().item<bool>());
    }
    comm.all_gather("", "after");
  });
}

TEST(Communicator, RefusesParcelsThatDoNotFitEverywhere) {
  run_on_every_rank([](Communicator& comm) {
    const auto bytes = [](int64_t count) { return torch::zeros({count}, torch::kUInt8); };
    const int beyond = comm.world_size();
    EXPECT_THROW(comm.start_exchange({bytes(4), {{comm.rank(), 4}}, bytes(0), {}}, "x"),
                 ConfigError);
    EXPECT_THROW(comm.start_exchange({bytes(4), {{beyond, 4}}, bytes(0), {}}, "x"), ConfigError);
    EXPECT_THROW(comm.start_exchange({bytes(4), {}, bytes(0), {}}, "x"), ConfigError);
    EXPECT_THROW(comm.start_exchange({bytes(0), {}, torch::zeros({0}), {}}, "x"), ConfigError);
    EXPECT_FALSE(comm.broken());
    EXPECT_EQ(comm.all_gather("", "still in step").size(), static_cast<size_t>(comm.world_size()));
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
