#include "fakescore/fill/traffic.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "comm/bulk/staged_plane.hpp"
#include "fakescore/error.hpp"
#include "fill/broadcast_ways.hpp"
#include "fill/cut_routes.hpp"
#include "fill/readers.hpp"

namespace fakescore {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint64_t kWeight = 1000;

/// Of 1000 bytes in 10 rows each, and one buffer of 100 bytes that no file has.
std::vector<PlannedTensor> layers(int count) {
  std::vector<PlannedTensor> tensors(static_cast<size_t>(count), {kWeight, 10, false});
  tensors.push_back({100, 0, true});
  return tensors;
}

template <typename Entry>
std::vector<uint64_t> column(const std::vector<Entry>& entries, uint64_t Entry::*field) {
  std::vector<uint64_t> values;
  for (const Entry& entry : entries) values.push_back(entry.*field);
  return values;
}

template <typename Entry>
uint64_t sum(const std::vector<Entry>& entries, uint64_t Entry::*field) {
  const auto values = column(entries, field);
  return std::accumulate(values.begin(), values.end(), uint64_t{0});
}

TEST(Traffic, OneReaderSendsEachByteOnceToEveryRank) {
  const Traffic traffic = plan_traffic(layers(4), {1, 4}, {TeacherRead::kRoot});
  EXPECT_EQ(traffic.read, TeacherRead::kRoot);
  EXPECT_THAT(column(traffic.ranks, &RankTraffic::read), ElementsAre(4000, 0, 0, 0));
  EXPECT_THAT(column(traffic.ranks, &RankTraffic::received), ElementsAre(0, 4100, 4100, 4100));
  EXPECT_THAT(column(traffic.ranks, &RankTraffic::sent), ElementsAre(3 * 4100, 0, 0, 0));
  EXPECT_THAT(column(traffic.hosts, &HostTraffic::sent), ElementsAre(0));
}

TEST(Traffic, OnOneHostEveryRankReadsAndOnlyWhatIsReplayedTravels) {
  const Traffic traffic = plan_traffic(layers(4), {1, 2}, {});
  EXPECT_EQ(traffic.read, TeacherRead::kEveryRank);
  EXPECT_THAT(traffic.reason, HasSubstr("one page cache"));
  EXPECT_THAT(column(traffic.ranks, &RankTraffic::read), Each(4000));
  EXPECT_THAT(column(traffic.ranks, &RankTraffic::received), ElementsAre(0, 100));
  EXPECT_EQ(traffic.hosts[0].read, 8000U);
  EXPECT_EQ(traffic.hosts[0].from_disk, 4000U);
}

TEST(Traffic, InTurnsTheReadersAreThoseOfTheFill) {
  const auto tensors = layers(50);
  std::vector<uint64_t> sizes;
  for (const PlannedTensor& tensor : tensors) sizes.push_back(tensor.bytes);
  const auto readers = detail::share_reading(sizes, 6);
  std::vector<uint64_t> expected(6);
  for (size_t i = 0; i + 1 < tensors.size(); ++i) {
    expected[static_cast<size_t>(readers[i])] += sizes[i];
  }
  const Traffic traffic = plan_traffic(tensors, {3, 2}, {});
  EXPECT_EQ(traffic.read, TeacherRead::kInTurns);
  EXPECT_EQ(column(traffic.ranks, &RankTraffic::read), expected);
}

TEST(Traffic, BetweenTwoHostsTheLinkCarriesWhatTheBackendSends) {
  // As tests/python/jobs/test_hosts.py counts it: each host sends the half that it reads.
  const Traffic two = plan_traffic({{500, 5, false}, {500, 5, false}}, {2, 1}, {});
  EXPECT_THAT(column(two.hosts, &HostTraffic::sent), ElementsAre(500, 500));
  // Over a store all that others read comes from rank 0's host; NCCL's ring has each host once.
  TrafficOptions options{TeacherRead::kRoot};
  options.backend = "store";
  EXPECT_EQ(plan_traffic({{kWeight, 10, false}}, {2, 2}, options).hosts[0].sent, 2000U);
  options.backend = "nccl over mpi";
  EXPECT_EQ(plan_traffic({{kWeight, 10, false}}, {2, 2}, options).hosts[0].sent, 1000U);
}

TEST(Traffic, WhatIsWholeComesToEachHostOnceOnCpus) {
  constexpr uint64_t kMuch = 40'000'000;
  for (const char* backend : {"mpi", "process group"}) {
    TrafficOptions options{TeacherRead::kRoot};
    options.backend = backend;
    const Traffic traffic = plan_traffic({{kMuch, 10, false}}, {3, 2}, options);
    EXPECT_THAT(column(traffic.hosts, &HostTraffic::sent), ElementsAre(kMuch, kMuch, 0)) << backend;
    EXPECT_THAT(column(traffic.ranks, &RankTraffic::sent),
                ElementsAre(kMuch, kMuch, kMuch, kMuch, kMuch, 0));
    EXPECT_EQ(traffic.whole_hops, 5);
    EXPECT_EQ(traffic.longest_way, 0);
  }
  // What is cast on arrival is narrower on its way: Open MPI sends it to each of up to four ranks.
  TrafficOptions options{TeacherRead::kRoot};
  const Traffic cast = plan_traffic({{kMuch, 10, false, false}}, {2, 2}, options);
  EXPECT_EQ(cast.hosts[0].sent, 2 * kMuch);
  EXPECT_EQ(cast.whole_hops, 0);
  // What is replayed is sent at another time, and is little.
  const Traffic both = plan_traffic({{kMuch, 10, false}, {100, 0, true}}, {2, 2}, options);
  EXPECT_EQ(both.hosts[0].sent, kMuch + 200);
}

TEST(Traffic, ShardsAreReadByWhoHoldsThem) {
  TrafficOptions options{TeacherRead::kEveryRank};
  // 10 rows on 4 ranks: 3, 3, 3 and 1.
  const Traffic traffic = plan_traffic(layers(1), {2, 2, 4}, options);
  EXPECT_EQ(traffic.read, TeacherRead::kEveryRank);
  EXPECT_THAT(column(traffic.ranks, &RankTraffic::read), ElementsAre(300, 300, 300, 100));
  EXPECT_THAT(column(traffic.ranks, &RankTraffic::filled), ElementsAre(400, 400, 400, 200));
  EXPECT_THAT(column(traffic.hosts, &HostTraffic::from_disk), ElementsAre(600, 400));
}

TEST(Traffic, ReplicasOfShardsOnSeveralHostsShareTheReading) {
  const Traffic traffic = plan_traffic({{kWeight, 10, false}}, {2, 2, 2}, {});
  EXPECT_EQ(traffic.read, TeacherRead::kInTurns);
  EXPECT_THAT(column(traffic.ranks, &RankTraffic::read), Each(250));
  EXPECT_THAT(column(traffic.ranks, &RankTraffic::received), Each(250));
  EXPECT_THAT(column(traffic.hosts, &HostTraffic::received), Each(500));
  const Traffic all = plan_traffic({{kWeight, 10, false}}, {2, 2, 2}, {TeacherRead::kEveryRank});
  EXPECT_THAT(column(all.ranks, &RankTraffic::read), Each(500));
  EXPECT_THAT(column(all.hosts, &HostTraffic::sent), Each(0));
}

TEST(Traffic, OneReaderSendsEachPartOnceAndReplicasPassItOn) {
  const Traffic traffic = plan_traffic({{kWeight, 10, false}}, {2, 2, 2}, {TeacherRead::kRoot});
  EXPECT_THAT(column(traffic.ranks, &RankTraffic::read), ElementsAre(1000, 0, 0, 0));
  EXPECT_THAT(column(traffic.ranks, &RankTraffic::sent), ElementsAre(1000, 500, 0, 0));
  EXPECT_THAT(column(traffic.hosts, &HostTraffic::sent), ElementsAre(1000, 0));
}

TEST(Traffic, WhatNotAllSeeIsReadByTheRoot) {
  TrafficOptions options;
  options.all_see_files = false;
  EXPECT_EQ(plan_traffic(layers(2), {2, 2}, options).read, TeacherRead::kRoot);
  EXPECT_EQ(plan_traffic(layers(2), {2, 2, 4}, options).read, TeacherRead::kRoot);
  options.read = TeacherRead::kInTurns;
  EXPECT_THROW(plan_traffic(layers(2), {2, 2}, options), ConfigError);
}

TEST(Traffic, AShapeThatIsNoneIsRefused) {
  for (const JobShape& shape : {JobShape{0, 1}, JobShape{1, 0}, JobShape{2, 2, 3},
                                JobShape{1, 1, 0}, JobShape{1 << 20, 1 << 20}}) {
    EXPECT_THROW(plan_traffic(layers(1), shape, {}), ConfigError) << shape.hosts;
  }
  TrafficOptions options;
  options.root = 4;
  EXPECT_THROW(plan_traffic(layers(1), {2, 2}, options), ConfigError);
  options = {};
  options.backend = "pigeons";
  EXPECT_THROW(plan_traffic(layers(1), {2, 2}, options), ConfigError);
}

TEST(Traffic, AProcessGroupsRanksTakeBroadcastsFromTheRootOnOneHost) {
  TrafficOptions options{TeacherRead::kRoot};
  options.backend = "process group over store";
  const auto sent = [&](JobShape shape) {
    const Traffic traffic = plan_traffic({{kWeight, 10, false}}, shape, options);
    return column(traffic.ranks, &RankTraffic::sent);
  };
  EXPECT_THAT(sent({1, 4}), ElementsAre(3 * kWeight, 0, 0, 0));
  EXPECT_EQ(sent({1, 256})[0], 255 * kWeight);
  // Over Gloo: on several hosts, and where they are too many to share memory.
  EXPECT_THAT(sent({2, 2}), ElementsAre(2 * kWeight, kWeight, 0, 0));
  EXPECT_EQ(sent({1, 257})[0], 9 * kWeight);
  options.on_gpu = true;
  EXPECT_THAT(sent({1, 4}), ElementsAre(kWeight, kWeight, kWeight, 0));
}

/// Any model, job and backend: what is sent is received, each byte is read as often as is said, and
/// every rank ends with what it holds.
TEST(Traffic, AddsUp) {
  std::mt19937 random(11);
  const std::vector<std::string> backends{"mpi", "nccl", "process group", "store"};
  for (int round = 0; round < 500; ++round) {
    JobShape shape{1 + static_cast<int>(random() % 5), 1 + static_cast<int>(random() % 5)};
    const int ranks = shape.world_size();
    do shape.ranks_per_copy = 1 + static_cast<int>(random()) % ranks;
    while (shape.ranks_per_copy < 1 || ranks % shape.ranks_per_copy != 0);
    TrafficOptions options{static_cast<TeacherRead>(random() % 4), true, random() % 2 == 0,
                           backends[random() % backends.size()]};
    options.root = static_cast<int>(random() % static_cast<unsigned>(ranks));
    std::vector<PlannedTensor> tensors;
    uint64_t of_the_teacher = 0;
    uint64_t all = 0;
    for (auto i = random() % 30; i > 0; --i) {
      const auto rows = static_cast<int64_t>(random() % 20);
      const uint64_t bytes =
          (1 + random() % 100) * static_cast<uint64_t>(std::max<int64_t>(rows, 1));
      tensors.push_back({bytes, rows, random() % 4 == 0});
      all += bytes;
      if (!tensors.back().replayed) of_the_teacher += bytes;
    }
    SCOPED_TRACE(::testing::Message()
                 << "round " << round << ": " << shape.hosts << " x " << shape.ranks_per_host
                 << ", a copy on " << shape.ranks_per_copy << ", " << to_string(options.read)
                 << " over " << options.backend);
    const Traffic traffic = plan_traffic(tensors, shape, options);
    EXPECT_EQ(sum(traffic.ranks, &RankTraffic::sent), sum(traffic.ranks, &RankTraffic::received));
    EXPECT_EQ(sum(traffic.hosts, &HostTraffic::sent), sum(traffic.hosts, &HostTraffic::received));
    EXPECT_EQ(sum(traffic.ranks, &RankTraffic::from_other_hosts),
              sum(traffic.hosts, &HostTraffic::received));
    EXPECT_EQ(sum(traffic.ranks, &RankTraffic::read), sum(traffic.hosts, &HostTraffic::read));
    if (traffic.read != TeacherRead::kEveryRank) {
      EXPECT_EQ(sum(traffic.ranks, &RankTraffic::read), of_the_teacher);
    }
    EXPECT_LE(sum(traffic.hosts, &HostTraffic::from_disk), sum(traffic.hosts, &HostTraffic::read));
    EXPECT_GE(sum(traffic.hosts, &HostTraffic::from_disk), of_the_teacher);
    if (shape.ranks_per_copy == 1) {
      EXPECT_THAT(column(traffic.ranks, &RankTraffic::filled), Each(all));
      if (options.backend != "store") {
        const bool reads_own = traffic.read == TeacherRead::kEveryRank;
        const uint64_t replayed = all - of_the_teacher;
        for (int rank = 0; rank < ranks; ++rank) {
          const RankTraffic& each = traffic.ranks[static_cast<size_t>(rank)];
          const uint64_t made = rank == options.root ? replayed : 0;
          EXPECT_EQ(each.received, (reads_own ? replayed : all - each.read) - made) << rank;
        }
      }
    } else if (options.backend != "store" && traffic.read == TeacherRead::kInTurns) {
      for (const RankTraffic& each : traffic.ranks) EXPECT_LE(each.read, each.filled);
    }
  }
}

TEST(Traffic, IsTheSameEachTime) {
  const Traffic first = plan_traffic(layers(9), {3, 4}, {});
  const Traffic second = plan_traffic(layers(9), {3, 4}, {});
  EXPECT_EQ(first.ranks, second.ranks);
  EXPECT_EQ(first.hosts, second.hosts);
}

/// One root after the other, edge by edge.
std::vector<std::vector<uint64_t>> sent_by_one(detail::BroadcastWay way, int ranks, int root,
                                               uint64_t bytes) {
  std::vector<std::vector<uint64_t>> sent(static_cast<size_t>(ranks),
                                          std::vector<uint64_t>(static_cast<size_t>(ranks)));
  const auto at = [&](int place) {
    if (way != detail::BroadcastWay::kSwappedChain) return (root + place) % ranks;
    return place == 0 ? root : place == root ? 0 : place;
  };
  for (int place = 1; place < ranks; ++place) {
    int parent = place - 1;
    if (way == detail::BroadcastWay::kTree) {
      int highest = 1;
      while (highest * 2 <= place) highest *= 2;
      parent = place - highest;
    }
    sent[static_cast<size_t>(at(parent))][static_cast<size_t>(at(place))] += bytes;
  }
  return sent;
}

TEST(BroadcastWays, OfAllRootsAreThoseOfEachAddedUp) {
  for (const auto way : {detail::BroadcastWay::kSwappedChain, detail::BroadcastWay::kRing,
                         detail::BroadcastWay::kTree}) {
    for (int ranks = 2; ranks <= 17; ++ranks) {
      const auto size = static_cast<size_t>(ranks);
      std::vector<uint64_t> bytes;
      std::vector<std::vector<uint64_t>> want(size, std::vector<uint64_t>(size));
      for (int root = 0; root < ranks; ++root) {
        bytes.push_back(static_cast<uint64_t>(1 + root * root * 7 % 13));
        const auto of_root = sent_by_one(way, ranks, root, bytes.back());
        for (size_t a = 0; a < size; ++a) {
          for (size_t b = 0; b < size; ++b) want[a][b] += of_root[a][b];
        }
      }
      std::vector<std::vector<uint64_t>> got(size, std::vector<uint64_t>(size));
      detail::broadcast_from_each(way, bytes, [&](int from, int to, uint64_t sent) {
        got[static_cast<size_t>(from)][static_cast<size_t>(to)] += sent;
      });
      EXPECT_EQ(got, want) << static_cast<int>(way) << ", " << ranks << " ranks";
    }
  }
}

/// What is passed on is sent as its routes say.
TEST(BroadcastWays, HostByHostIsTheWayOfTheRoutes) {
  std::mt19937 random(5);
  for (int hosts = 1; hosts <= 4; ++hosts) {
    for (int ranks_per_host = 1; ranks_per_host <= 4; ++ranks_per_host) {
      const auto size = static_cast<size_t>(hosts * ranks_per_host);
      std::vector<uint64_t> bytes(size);
      std::vector<int> host_of(size);
      for (size_t rank = 0; rank < size; ++rank) {
        bytes[rank] = random() % 1000;
        host_of[rank] = static_cast<int>(rank) / ranks_per_host;
      }
      std::vector<std::vector<uint64_t>> want(size, std::vector<uint64_t>(size));
      for (size_t root = 0; root < size; ++root) {
        detail::CutTensor tensor{"weight", {1}, std::vector<Box>(size, Box{{0}, {1}})};
        const auto routes =
            detail::route_from_root(tensor, static_cast<int>(root), detail::Chains{4, host_of});
        for (size_t from = 0; from < size; ++from) {
          detail::TensorRoutes alone = detail::route_of_whole(
              static_cast<int>(from), static_cast<int>(root), detail::Chains{4, host_of});
          for (detail::Route& route : alone.sends) route.box = tensor.kept[from];
          for (detail::Route& route : alone.receives) route.box = tensor.kept[from];
          EXPECT_EQ(alone.sends, routes.ranks[from].sends);
          EXPECT_EQ(alone.receives, routes.ranks[from].receives);
          for (const detail::Route& route : routes.ranks[from].sends) {
            const auto to = static_cast<size_t>(route.rank);
            if (to != from) want[from][to] += bytes[root];
          }
        }
      }
      std::vector<std::vector<uint64_t>> got(size, std::vector<uint64_t>(size));
      detail::pass_on_from_each(bytes, ranks_per_host, [&](int from, int to, uint64_t sent) {
        got[static_cast<size_t>(from)][static_cast<size_t>(to)] += sent;
      });
      EXPECT_EQ(got, want) << hosts << " hosts with " << ranks_per_host;
    }
  }
}

TEST(BroadcastWays, PassOnWhereABroadcastMayCrossALinkAgain) {
  constexpr uint64_t kMuch = 1 << 30;
  EXPECT_TRUE(detail::passes_on_by_hosts({"process group over store", false, 2, 4, kMuch}));
  EXPECT_TRUE(detail::passes_on_by_hosts({"mpi", false, 3, 3, 8 << 20}));
  EXPECT_FALSE(detail::passes_on_by_hosts({"mpi", false, 3, 3, (8 << 20) - 1}));
  EXPECT_FALSE(detail::passes_on_by_hosts({"mpi", false, 3, 1000, kMuch}));
  EXPECT_FALSE(detail::passes_on_by_hosts({"mpi", false, 2, 2, kMuch}));
  EXPECT_FALSE(detail::passes_on_by_hosts({"mpi", false, 1, 8, kMuch}));
  EXPECT_FALSE(detail::passes_on_by_hosts({"store", false, 2, 4, kMuch}));
  EXPECT_FALSE(detail::passes_on_by_hosts({"nccl over mpi", true, 2, 4, kMuch}));
}

TEST(BroadcastWays, AreKnownByTheBackendsName) {
  using detail::BroadcastWay;
  EXPECT_EQ(detail::way_of_backend("mpi", 4, false), BroadcastWay::kEach);
  EXPECT_EQ(detail::way_of_backend("mpi", 5, false), BroadcastWay::kSwappedChain);
  EXPECT_EQ(detail::way_of_backend("nccl over mpi", 4, true), BroadcastWay::kRing);
  EXPECT_EQ(detail::way_of_backend("process group over store", 4, false), BroadcastWay::kTree);
  EXPECT_EQ(detail::way_of_backend("process group over store", 4, true), BroadcastWay::kRing);
  const std::string staged = std::string("process group over store") + detail::kStaged;
  EXPECT_EQ(detail::way_of_backend(staged, 4, true), BroadcastWay::kTree);
  EXPECT_EQ(detail::way_of_backend("shared memory over store", 4, false), BroadcastWay::kEach);
  EXPECT_EQ(detail::way_of_backend("a program's own", 4, false), std::nullopt);
  EXPECT_EQ(detail::longest_way(BroadcastWay::kTree, 9), 4);
  EXPECT_EQ(detail::longest_way(BroadcastWay::kRing, 9), 8);
  EXPECT_EQ(detail::longest_way(BroadcastWay::kEach, 1), 0);
}

}  // namespace
}  // namespace fakescore
