// Who sends which part of a tensor to whom.
#include "fill/cut_routes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <torch/torch.h>

#include <algorithm>
#include <set>

#include "comm/host.hpp"
#include "fakescore/error.hpp"
#include "fill/reading_turns.hpp"
#include "fill/replicas.hpp"
#include "fill/shards.hpp"
#include "support/error_of.hpp"
#include "support/property.hpp"

namespace fakescore::detail {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kRounds = 4;
const Chains kChains{kRounds, {}};

/// Rows [begin, begin + count) of a tensor of 12 rows.
Box rows(int64_t begin, int64_t count) { return {{begin, 0}, {count, 3}}; }

CutTensor rows_of(std::vector<Box> kept, std::vector<Box> held = {}) {
  return {"rows", {12, 3}, std::move(kept), std::move(held)};
}

const TensorRoutes& of(const RoutesByRank& routes, size_t rank) { return routes.ranks[rank]; }

TEST(CutRoutes, TheRootSendsEachPartOnce) {
  const auto routes =
      route_from_root(rows_of({rows(0, 4), rows(4, 4), rows(8, 4), rows(12, 0)}), 0, kChains);
  ASSERT_EQ(of(routes, 0).sends.size(), 3U);
  EXPECT_EQ(of(routes, 0).sends[0].rank, 0) << "its own part";
  EXPECT_EQ(of(routes, 0).sends[2].box, rows(8, 4));
  EXPECT_EQ(of(routes, 1).receives.size(), 1U);
  EXPECT_TRUE(of(routes, 1).sends.empty());
  EXPECT_TRUE(of(routes, 3).receives.empty()) << "it keeps nothing";
  EXPECT_EQ(routes.latest, 0);
}

TEST(CutRoutes, ReplicasPassAPartOn) {
  const auto routes = route_from_root(
      rows_of({rows(0, 6), rows(6, 6), rows(0, 6), rows(6, 6), rows(0, 6), rows(6, 6)}), 1,
      kChains);
  // Of its own box the root keeps one and sends one.
  EXPECT_EQ(of(routes, 1).sends.size(), 3U);
  EXPECT_EQ(of(routes, 3).receives[0].rank, 1);
  EXPECT_EQ(of(routes, 3).sends[0].rank, 5);
  EXPECT_EQ(of(routes, 3).sends[0].rounds_later, kRounds);
  EXPECT_EQ(of(routes, 5).receives[0].rank, 3);
  EXPECT_EQ(of(routes, 0).receives[0].rounds_later, 2 * kRounds) << "the last one after the root";
  EXPECT_EQ(routes.latest, 2 * kRounds);
}

TEST(CutRoutes, WhatARankHasItTakesFromItself) {
  const std::vector<Box> parts{rows(0, 6), rows(6, 6)};
  const auto routes = route_from_holders(rows_of(parts, parts), kChains);
  for (size_t rank = 0; rank < 2; ++rank) {
    ASSERT_EQ(of(routes, rank).sends.size(), 1U);
    EXPECT_EQ(of(routes, rank).sends[0].rank, static_cast<int>(rank));
    EXPECT_TRUE(of(routes, rank).receives.empty());
  }
}

TEST(CutRoutes, WhatAllKeepWholeIsGatheredOnceAndPassedOn) {
  const std::vector<Box> held{rows(0, 4), rows(4, 4), rows(8, 4)};
  const auto routes =
      route_from_holders(rows_of({rows(0, 12), rows(0, 12), rows(0, 12)}, held), kChains);
  EXPECT_EQ(of(routes, 0).receives.size(), 2U);
  ASSERT_EQ(of(routes, 1).receives.size(), 1U);
  EXPECT_EQ(of(routes, 1).receives[0].box, rows(0, 12));
  EXPECT_EQ(of(routes, 2).receives[0].rank, 1);
  EXPECT_EQ(routes.latest, 2 * kRounds);
}

TEST(CutRoutes, APartThatNoRankHasIsNamed) {
  const auto tensor = rows_of({rows(0, 6), rows(6, 6)}, {rows(0, 6), rows(6, 5)});
  EXPECT_THAT(testing::error_of<TeacherError>([&] { route_from_holders(tensor, kChains); }),
              AllOf(HasSubstr("rows"), HasSubstr("rank 1"), HasSubstr("of its 18 elements")));
}

TEST(CutRoutes, PartsThatOverlapAreNamed) {
  const auto tensor = rows_of({rows(0, 6), rows(6, 6)}, {rows(0, 7), rows(6, 6)});
  EXPECT_THAT(testing::error_of<TeacherError>([&] { route_from_holders(tensor, kChains); }),
              AllOf(HasSubstr("rows"), HasSubstr("overlap")));
}

/// Boxes that cut a tensor along each dimension at random places, each for one or more ranks.
std::vector<Box> draw_parts(const std::vector<int64_t>& sizes, size_t ranks) {
  std::vector<Box> boxes{{std::vector<int64_t>(sizes.size(), 0), sizes}};
  while (boxes.size() < ranks && *rc::gen::inRange(0, 4) > 0) {
    const auto which = *rc::gen::inRange<size_t>(0, boxes.size());
    const auto dim = *rc::gen::inRange<size_t>(0, sizes.size());
    Box& first = boxes[which];
    const auto length = *rc::gen::inRange<int64_t>(0, first.sizes[dim] + 1);
    Box second = first;
    first.sizes[dim] = length;
    second.offsets[dim] += length;
    second.sizes[dim] -= length;
    boxes.push_back(second);
  }
  // Those that are left hold some box as well.
  while (boxes.size() < ranks) {
    boxes.push_back(boxes[*rc::gen::inRange<size_t>(0, boxes.size())]);
  }
  return boxes;
}

struct Numbered {
  explicit Numbered(const std::vector<int64_t>& sizes) {
    int64_t count = 1;
    for (const int64_t size : sizes) count *= size;
    whole = torch::arange(count).view(sizes);
  }
  at::Tensor of(const Box& box) const {
    return box_of(whole, Shard{whole.sizes().vec(), box}).flatten();
  }
  at::Tensor whole;
};

TEST(CutRoutes, BringAllThatRanksKeepFromWhoHasIt) {
  testing::expect_property(200, [] {
    const std::vector<int64_t> sizes{*rc::gen::inRange<int64_t>(1, 9),
                                     *rc::gen::inRange<int64_t>(1, 9)};
    const auto ranks = *rc::gen::inRange<size_t>(1, 9);
    CutTensor tensor{"t", sizes, draw_parts(sizes, ranks), {}};
    const bool is_in_parts = *rc::gen::arbitrary<bool>();
    if (is_in_parts) tensor.held = draw_parts(sizes, ranks);
    const auto routes =
        is_in_parts ? route_from_holders(tensor, kChains) : route_from_root(tensor, 0, kChains);
    const Numbered numbered(sizes);
    for (size_t rank = 0; rank < ranks; ++rank) {
      at::Tensor got = torch::zeros(sizes, torch::kLong);
      const auto take = [&](const Route& route) { box_of(got, Shard{sizes, route.box}).add_(1); };
      for (const Route& route : of(routes, rank).sends) {
        if (route.rank == static_cast<int>(rank)) take(route);
        // What is sent is there: held, or kept and received before.
        const Box& from = route.rounds_later > 0 ? tensor.kept[rank]
                          : is_in_parts          ? tensor.held[rank]
                                                 : Box{{0, 0}, sizes};
        RC_ASSERT(torch::isin(numbered.of(route.box), numbered.of(from)).all().item<bool>());
        for (const Route& received : of(routes, rank).receives) {
          RC_ASSERT(route.rounds_later == 0 ||
                    received.rounds_later + kRounds <= route.rounds_later);
        }
        if (route.rank == static_cast<int>(rank)) continue;
        const auto& theirs = of(routes, static_cast<size_t>(route.rank)).receives;
        RC_ASSERT(std::count_if(theirs.begin(), theirs.end(), [&](const Route& other) {
                    return other.rank == static_cast<int>(rank) && other.box == route.box &&
                           other.rounds_later == route.rounds_later;
                  }) == 1);
      }
      for (const Route& route : of(routes, rank).receives) take(route);
      // Each element that is kept comes once, and no other one.
      at::Tensor wanted = torch::zeros(sizes, torch::kLong);
      box_of(wanted, Shard{sizes, tensor.kept[rank]}).add_(1);
      RC_ASSERT(torch::equal(got, wanted));
    }
  });
}

TEST(CutRoutes, APartComesToEachHostOnce) {
  const Chains chains{kRounds, {0, 1, 0, 1, 2, 2}};
  EXPECT_EQ(chains.order({0, 1, 2, 3, 4, 5}, 3), (std::vector<int>{3, 1, 4, 5, 0, 2}));
  EXPECT_EQ(kChains.order({4, 1, 3}, 3), (std::vector<int>{3, 4, 1})) << "one host";
  const std::vector<Box> all(6, rows(0, 12));
  const auto routes = route_from_root(rows_of(all), 2, chains);
  int between_hosts = 0;
  for (size_t rank = 0; rank < 6; ++rank) {
    for (const Route& route : of(routes, rank).receives) {
      const auto from = static_cast<size_t>(route.rank);
      between_hosts += chains.hosts[from] != chains.hosts[rank] ? 1 : 0;
    }
  }
  EXPECT_EQ(between_hosts, 2);
}

TEST(CutRoutes, WhoHasItOnAHostPassesItOnThere) {
  const Chains chains{kRounds, {0, 0, 1, 1}};
  const std::vector<Box> all(4, rows(0, 12));
  // A rank of each host has all of it.
  const auto routes =
      route_from_holders(rows_of(all, {rows(0, 12), rows(0, 0), rows(0, 12), rows(0, 0)}), chains);
  EXPECT_EQ(of(routes, 1).receives[0].rank, 0);
  EXPECT_EQ(of(routes, 3).receives[0].rank, 2);
  const auto parts = route_from_holders(rows_of({rows(0, 0), rows(0, 6), rows(0, 0), rows(0, 12)},
                                                {rows(0, 12), rows(0, 0), rows(0, 12), rows(0, 0)}),
                                        chains);
  EXPECT_EQ(of(parts, 1).receives[0].rank, 0);
  EXPECT_EQ(of(parts, 3).receives[0].rank, 2);
}

TEST(CutRoutes, OneOfThoseThatKeepAPartReadsItInTurn) {
  const Box upper = rows(0, 6);
  const Box lower = rows(6, 6);
  const CutTensor tensor = rows_of({upper, lower, upper, lower, rows(0, 0)});
  for (const size_t turn : {size_t{0}, size_t{1}, size_t{2}}) {
    const auto routes = route_among_readers(tensor, {turn, 1}, kChains);
    const size_t reader = turn % 2 == 0 ? 2 : 0;
    EXPECT_THAT(of(routes, reader).reads, ::testing::ElementsAre(upper));
    EXPECT_THAT(of(routes, reader + 1).reads, ::testing::ElementsAre(lower));
    EXPECT_TRUE(of(routes, 2 - reader).reads.empty());
    EXPECT_TRUE(of(routes, 4).reads.empty()) << "it keeps nothing";
    ASSERT_EQ(of(routes, reader).sends.size(), 1U);
    EXPECT_EQ(of(routes, reader).sends[0].rounds_later, 1) << "from its place, once it is there";
    EXPECT_EQ(of(routes, 2 - reader).receives[0].box, upper);
  }
}

TEST(CutRoutes, AScalarIsReadOnce) {
  const CutTensor tensor{"scale", {}, {Box{}, Box{}}};
  const auto routes = route_among_readers(tensor, {1, 3}, kChains);
  EXPECT_EQ(of(routes, 0).reads.size(), 1U);
  EXPECT_TRUE(of(routes, 1).reads.empty());
  EXPECT_EQ(of(routes, 1).receives.size(), 1U);
}

TEST(CutRoutes, ReadersTakeTurnsAtStretchesAndShareLargeParts) {
  ReadingTurns turns(100);
  const auto next = [&](uint64_t whole, uint64_t part, bool has_shares = true) {
    const ReadingTurn turn = turns.next(whole, part, has_shares);
    return std::pair(turn.first, turn.shares);
  };
  EXPECT_EQ(next(60, 30), std::pair(size_t{0}, size_t{1}));
  EXPECT_EQ(next(60, 30), std::pair(size_t{0}, size_t{1}));
  EXPECT_EQ(next(60, 30), std::pair(size_t{1}, size_t{1}));
  EXPECT_EQ(next(700, 350), std::pair(size_t{1}, size_t{3})) << "its shares are of three turns";
  EXPECT_EQ(next(700, 350, false), std::pair(size_t{4}, size_t{1}));
  EXPECT_EQ(next(10, 10), std::pair(size_t{5}, size_t{1}));
}

/// What goes from one rank to another with one delay, in the order of a list.
std::vector<Box> boxes_between(const std::vector<Route>& routes, size_t rank, int delay) {
  std::vector<Box> boxes;
  for (const Route& route : routes) {
    if (route.rank == static_cast<int>(rank) && route.rounds_later == delay) {
      boxes.push_back(route.box);
    }
  }
  return boxes;
}

TEST(CutRoutes, ReadersBringEachElementOnceToWhoKeepsIt) {
  testing::expect_property(100, [] {
    const std::vector<int64_t> sizes{*rc::gen::inRange<int64_t>(1, 60),
                                     *rc::gen::inRange<int64_t>(1, 9)};
    // Enough replicas for lists that no sort keeps in order by chance.
    const auto ranks = *rc::gen::inRange<size_t>(1, 40);
    const bool has_replicas = *rc::gen::arbitrary<bool>();
    const CutTensor tensor{
        "t", sizes,
        has_replicas ? std::vector<Box>(ranks, Box{{0, 0}, sizes}) : draw_parts(sizes, ranks)};
    Chains chains{kRounds, {}};
    const auto ranks_of_host = *rc::gen::inRange<size_t>(1, 9);
    for (size_t rank = 0; rank < ranks; ++rank) {
      chains.hosts.push_back(static_cast<int>(rank / ranks_of_host));
    }
    const ReadingTurn turn{*rc::gen::inRange<size_t>(0, 90), *rc::gen::inRange<size_t>(1, 50)};
    const auto routes = route_among_readers(tensor, turn, chains);
    at::Tensor read = torch::zeros(sizes, torch::kLong);
    at::Tensor wanted = torch::zeros(sizes, torch::kLong);
    const std::set<Box> distinct(tensor.kept.begin(), tensor.kept.end());
    for (const Box& box : distinct) box_of(wanted, Shard{sizes, box}).fill_(1);
    for (size_t rank = 0; rank < ranks; ++rank) {
      const TensorRoutes& own = of(routes, rank);
      at::Tensor got = torch::zeros(sizes, torch::kLong);
      for (const Box& box : own.reads) {
        box_of(read, Shard{sizes, box}).add_(1);
        box_of(got, Shard{sizes, box}).add_(1);
      }
      for (const Route& route : own.receives) box_of(got, Shard{sizes, route.box}).add_(1);
      at::Tensor kept = torch::zeros(sizes, torch::kLong);
      box_of(kept, Shard{sizes, tensor.kept[rank]}).add_(1);
      RC_ASSERT(torch::equal(got, kept));
      for (const Route& route : own.sends) {
        const bool was_read =
            route.rounds_later >= 1 &&
            std::find(own.reads.begin(), own.reads.end(), route.box) != own.reads.end();
        const bool was_received =
            std::any_of(own.receives.begin(), own.receives.end(), [&](const Route& received) {
              return received.box == route.box &&
                     received.rounds_later + kRounds <= route.rounds_later;
            });
        RC_ASSERT(was_read || was_received);
        const auto peer = static_cast<size_t>(route.rank);
        RC_ASSERT(boxes_between(own.sends, peer, route.rounds_later) ==
                  boxes_between(of(routes, peer).receives, rank, route.rounds_later));
      }
    }
    RC_ASSERT(torch::equal(read, wanted));
  });
}

TEST(Replicas, AreCountedByHostAndBox) {
  const KeptTensor halves{4, {rows(0, 6), rows(6, 6), rows(0, 6), rows(6, 6)}};
  const KeptTensor own{2, {rows(0, 3), rows(3, 3), rows(6, 3), rows(9, 3)}};
  const KeptTensor nothing{2, std::vector<Box>(4, rows(0, 0))};
  const BytesByHosts two = count_by_hosts({0, 0, 1, 1}, {halves, own, nothing});
  EXPECT_EQ(two.once, 12U * 3 * 4 + 12 * 3 * 2);
  EXPECT_EQ(two.again, 12U * 3 * 4);
  EXPECT_EQ(count_by_hosts({0, 1, 0, 1}, {halves}).again, 0U) << "each host has one half";
}

TEST(Replicas, AHostThatTheKernelDoesNotSayIsOneOfItsOwn) {
  EXPECT_EQ(number_hosts({"a", "", "b", "a", ""}), (std::vector<int>{0, 1, 2, 0, 3}));
}

}  // namespace
}  // namespace fakescore::detail
