// Whole tensors that are passed on host by host, over ranks that are threads of this process and
// are told which hosts they are on.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <map>
#include <numeric>
#include <thread>

#include "fakescore/comm/make_communicator.hpp"
#include "fill/cut_routes.hpp"
#include "fill/link_count.hpp"
#include "fill/readers.hpp"
#include "fill/send_transfers.hpp"
#include "transfer/exchange_transfers.hpp"

namespace fakescore::detail {
namespace {

constexpr int64_t kGap = 48;
constexpr int64_t kBytes = int64_t{9} << 20;

at::Tensor values_of(int number, int64_t bytes) {
  const at::Tensor values = torch::empty({bytes}, torch::kByte);
  auto* const data = values.data_ptr<uint8_t>();
  for (int64_t i = 0; i < bytes; ++i) data[i] = static_cast<uint8_t>((i * 7 + number) % 251);
  return values;
}

/// What one rank has for all, from one of the places in which that can be; other ranks have ones.
Transfer transfer_of(int number, int root, int64_t bytes, bool is_root) {
  Transfer transfer;
  transfer.name = "number " + std::to_string(number);
  transfer.layout.root = root;
  // A storage of which only the end is sent.
  if (bytes > 0) transfer.layout.ranges = {{kGap, static_cast<size_t>(kGap + bytes)}};
  transfer.destination = torch::ones({kGap + bytes}, torch::kByte);
  if (!is_root) return transfer;
  if (number % 2 == 0) {
    transfer.source = InHostMemory{[=] { return values_of(number, bytes); }};
  } else {
    transfer.source = InDestination{[=, destination = transfer.destination] {
      destination.narrow(0, kGap, bytes).copy_(values_of(number, bytes));
    }};
  }
  return transfer;
}

std::vector<int64_t> sizes_of(int ranks) {
  // Enough for a chain, in buckets of one tensor and of several, and one without bytes.
  std::vector<int64_t> sizes(static_cast<size_t>(ranks), kBytes);
  sizes.insert(sizes.end(), {1, 1000, 0, 77, 300'000});
  return sizes;
}

/// Sends from roots of which there may be several; `hosts` by rank.
void expect_passed_on(Communicator& communicator, const std::vector<int>& hosts, bool in_turns) {
  const int ranks = communicator.world_size();
  const std::vector<int64_t> sizes = sizes_of(ranks);
  std::vector<Transfer> transfers;
  std::vector<at::Tensor> destinations;
  uint64_t all = 0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    const int number = static_cast<int>(i);
    const int root = in_turns ? (number * 2) % ranks : ranks - 1;
    transfers.push_back(transfer_of(number, root, sizes[i], communicator.rank() == root));
    destinations.push_back(transfers.back().destination);
    all += static_cast<uint64_t>(sizes[i]);
  }
  FillOptions options;
  const FillContext context{communicator, options, at::kCPU};
  LinkCount links(communicator.rank(), hosts);
  const uint64_t moved = send_transfers(context, std::move(transfers), {}, links, "move");
  for (size_t i = 0; i < sizes.size(); ++i) {
    EXPECT_TRUE(destinations[i].narrow(0, 0, kGap).eq(1).all().item<bool>()) << i;
    EXPECT_TRUE(
        destinations[i].narrow(0, kGap, sizes[i]).equal(values_of(static_cast<int>(i), sizes[i])))
        << i;
  }
  EXPECT_GE(moved, all);  // a broadcast's buckets have gaps
  if (links.host_count() < 2 || ranks < 3) return;
  EXPECT_EQ(moved, all);
  // Each rank gets all that it has not, and of each root the last one passes nothing on.
  EXPECT_LE(links.bytes().received, all);
  EXPECT_LE(links.bytes().sent, all);
  EXPECT_LE(links.bytes().from_other_hosts, all);
  if (in_turns) return;
  EXPECT_EQ(links.bytes().received, communicator.rank() == ranks - 1 ? 0 : all);
}

void expect_passed_on(const std::vector<int>& hosts, bool in_turns) {
  const auto world = make_local_communicators(static_cast<int>(hosts.size()));
  std::vector<std::thread> ranks;
  for (const auto& communicator : world) {
    ranks.emplace_back([&] { expect_passed_on(*communicator, hosts, in_turns); });
  }
  for (std::thread& rank : ranks) rank.join();
}

TEST(PassOn, AnyRootsAndHosts) {
  for (const bool in_turns : {false, true}) {
    for (const std::vector<int>& hosts :
         {std::vector{0}, {0, 1}, {0, 1, 2}, {0, 1, 1}, {0, 0, 1, 1}, {0, 1, 0, 1, 0}}) {
      expect_passed_on(hosts, in_turns);
    }
  }
}

/// Else its buffers would grow with the ranks.
TEST(PassOn, WhatRanksReadInTurnComesToARankLittleAtATime) {
  constexpr int kRanks = 16;
  constexpr size_t kTensors = 256;
  constexpr uint64_t kRoundBytes = 8 << 20;
  Chains chains{kRoundsInFlight, std::vector<int>(kRanks)};
  std::iota(chains.hosts.begin(), chains.hosts.end(), 0);
  const auto readers = share_reading(std::vector<uint64_t>(kTensors, kRoundBytes), kRanks);
  for (int rank = 0; rank < kRanks; ++rank) {
    std::map<int, int> tensors_of_round;
    for (size_t i = 0; i < kTensors; ++i) {
      for (const Route& route : route_of_whole(rank, readers[i], chains).receives) {
        const int round = static_cast<int>(i) + route.rounds_later;
        EXPECT_LE(++tensors_of_round[round], 2) << "rank " << rank << ", round " << round;
      }
    }
  }
}

}  // namespace
}  // namespace fakescore::detail
