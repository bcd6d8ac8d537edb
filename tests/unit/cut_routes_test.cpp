// Who sends which part of a tensor to whom.
#include "fill/cut_routes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <torch/torch.h>

#include "fakescore/error.hpp"
#include "fill/shards.hpp"
#include "support/error_of.hpp"
#include "support/property.hpp"

namespace fakescore::detail {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kRounds = 4;

/// Rows [begin, begin + count) of a tensor of 12 rows.
Box rows(int64_t begin, int64_t count) { return {{begin, 0}, {count, 3}}; }

CutTensor rows_of(std::vector<Box> kept, std::vector<Box> held = {}) {
  return {"rows", {12, 3}, std::move(kept), std::move(held)};
}

const TensorRoutes& of(const RoutesByRank& routes, size_t rank) { return routes.ranks[rank]; }

TEST(CutRoutes, TheRootSendsEachPartOnce) {
  const auto routes =
      route_from_root(rows_of({rows(0, 4), rows(4, 4), rows(8, 4), rows(12, 0)}), 0, kRounds);
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
      kRounds);
  // Of its own box the root keeps one and sends one.
  EXPECT_EQ(of(routes, 1).sends.size(), 3U);
  EXPECT_EQ(of(routes, 3).receives[0].rank, 1);
  EXPECT_EQ(of(routes, 3).sends[0].rank, 5);
  EXPECT_EQ(of(routes, 3).sends[0].rounds_later, kRounds);
  EXPECT_EQ(of(routes, 5).receives[0].rank, 3);
  EXPECT_EQ(of(routes, 4).receives[0].rounds_later, 2 * kRounds);
  EXPECT_EQ(routes.latest, 2 * kRounds);
}

TEST(CutRoutes, WhatARankHasItTakesFromItself) {
  const std::vector<Box> parts{rows(0, 6), rows(6, 6)};
  const auto routes = route_from_holders(rows_of(parts, parts), kRounds);
  for (size_t rank = 0; rank < 2; ++rank) {
    ASSERT_EQ(of(routes, rank).sends.size(), 1U);
    EXPECT_EQ(of(routes, rank).sends[0].rank, static_cast<int>(rank));
    EXPECT_TRUE(of(routes, rank).receives.empty());
  }
}

TEST(CutRoutes, WhatAllKeepWholeIsGatheredOnceAndPassedOn) {
  const std::vector<Box> held{rows(0, 4), rows(4, 4), rows(8, 4)};
  const auto routes =
      route_from_holders(rows_of({rows(0, 12), rows(0, 12), rows(0, 12)}, held), kRounds);
  EXPECT_EQ(of(routes, 0).receives.size(), 2U);
  ASSERT_EQ(of(routes, 1).receives.size(), 1U);
  EXPECT_EQ(of(routes, 1).receives[0].box, rows(0, 12));
  EXPECT_EQ(of(routes, 2).receives[0].rank, 1);
  EXPECT_EQ(routes.latest, 2 * kRounds);
}

TEST(CutRoutes, APartThatNoRankHasIsNamed) {
  const auto tensor = rows_of({rows(0, 6), rows(6, 6)}, {rows(0, 6), rows(6, 5)});
  EXPECT_THAT(testing::error_of<TeacherError>([&] { route_from_holders(tensor, kRounds); }),
              AllOf(HasSubstr("rows"), HasSubstr("rank 1"), HasSubstr("of its 18 elements")));
}

TEST(CutRoutes, PartsThatOverlapAreNamed) {
  const auto tensor = rows_of({rows(0, 6), rows(6, 6)}, {rows(0, 7), rows(6, 6)});
  EXPECT_THAT(testing::error_of<TeacherError>([&] { route_from_holders(tensor, kRounds); }),
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
        is_in_parts ? route_from_holders(tensor, kRounds) : route_from_root(tensor, 0, kRounds);
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

}  // namespace
}  // namespace fakescore::detail
