#include "transfer/bucket_plan.hpp"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <random>
#include <tuple>

#include "fakescore/error.hpp"
#include "tensor/byte_ranges.hpp"
#include "transfer/transfer.hpp"

namespace fakescore::detail {
namespace {

TensorSpec spec_of(const at::Tensor& tensor) {
  return {"t",
          TensorKind::kBuffer,
          tensor.scalar_type(),
          tensor.sizes().vec(),
          tensor.strides().vec(),
          tensor.storage_offset(),
          0};
}

using Ranges = std::vector<ByteRange>;

TEST(ByteRanges, AreExactlyWhatATensorOccupies) {
  const auto base = torch::zeros({4, 6});
  EXPECT_EQ(occupied_bytes(spec_of(base)), (Ranges{{0, 96}}));
  EXPECT_EQ(occupied_bytes(spec_of(base.t())), (Ranges{{0, 96}}));
  EXPECT_EQ(occupied_bytes(spec_of(base[1])), (Ranges{{24, 48}}));
  EXPECT_EQ(occupied_bytes(spec_of(base.select(1, 2))),
            (Ranges{{8, 12}, {32, 36}, {56, 60}, {80, 84}}));
  EXPECT_EQ(occupied_bytes(spec_of(base.slice(1, 0, 3))),
            (Ranges{{0, 12}, {24, 36}, {48, 60}, {72, 84}}));
  EXPECT_EQ(occupied_bytes(spec_of(base[0][0].expand({5, 7}))), (Ranges{{0, 4}}));
  EXPECT_EQ(occupied_bytes(spec_of(base.slice(0, 0, 0))), Ranges{});
  EXPECT_EQ(occupied_bytes(spec_of(torch::zeros({}))), (Ranges{{0, 4}}));
}

TEST(ByteRanges, MergeAndCover) {
  EXPECT_EQ(merge({{4, 8}, {0, 4}, {10, 12}, {11, 20}, {9, 9}}), (Ranges{{0, 8}, {10, 20}}));
  EXPECT_TRUE(covers({{0, 8}, {10, 20}}, {{1, 3}, {10, 20}}));
  EXPECT_FALSE(covers({{0, 8}, {10, 20}}, {{7, 11}}));
}

/// Every byte of every range lies in one piece, wire bytes are consecutive, buckets hold what they
/// say.
void check(const std::vector<TransferLayout>& transfers, size_t bucket_bytes) {
  std::vector<std::vector<char>> seen;
  for (const auto& transfer : transfers) {
    seen.emplace_back(transfer.landings.empty() ? 0 : transfer.landings.back().stored.end, 0);
  }
  for (const Bucket& bucket : plan_buckets(transfers, bucket_bytes)) {
    EXPECT_LE(bucket.bytes, bucket_bytes);
    size_t end = 0;
    for (const Piece& piece : bucket.pieces) {
      EXPECT_GE(piece.bucket_offset, end);
      if (transfers[piece.transfer].cast) {
        EXPECT_EQ(piece.bucket_offset % kCastAlignment, 0U);
      }
      end = piece.bucket_offset + piece.wire_bytes;
      for (size_t i = 0; i < piece.stored_bytes; ++i) {
        ++seen[piece.transfer][piece.stored_begin + i];
      }
    }
    EXPECT_EQ(end, bucket.bytes);
    if (bucket.in_place) {
      EXPECT_EQ(bucket.pieces.size(), 1U);
    }
  }
  for (size_t t = 0; t < transfers.size(); ++t) {
    std::vector<char> expected(seen[t].size(), 0);
    for (const Landing& landing : transfers[t].landings) {
      std::fill(expected.begin() + static_cast<int64_t>(landing.stored.begin),
                expected.begin() + static_cast<int64_t>(landing.stored.end), 1);
    }
    EXPECT_EQ(seen[t], expected);
  }
}

TEST(BucketPlan, MovesEveryByteOnceForRandomLayouts) {
  std::mt19937 random(7);
  for (int round = 0; round < 50; ++round) {
    std::vector<TransferLayout> transfers;
    for (int t = 0; t < 12; ++t) {
      TransferLayout layout;
      size_t at = 0;
      for (size_t r = random() % 4; r > 0; --r) {
        const size_t begin = at + random() % 100;
        at = begin + 1 + random() % (random() % 5 == 0 ? 500'000 : 3'000);
        layout.landings.push_back({{begin, at}});
      }
      transfers.push_back(layout);
    }
    check(transfers, 4096 << (random() % 8));
  }
}

TEST(BucketPlan, LargeTensorsLandInPlaceAndSmallOnesArePacked) {
  std::vector<TransferLayout> transfers(101);
  for (auto& transfer : transfers) transfer = TransferLayout::to_all({{0, 4096}});
  transfers[50] = TransferLayout::to_all({{0, size_t{5} << 20}});
  const auto buckets = plan_buckets(transfers, size_t{1} << 20);
  ASSERT_EQ(buckets.size(), 7U);
  EXPECT_EQ(buckets[0].pieces.size(), 50U);
  for (size_t i = 1; i <= 5; ++i) {
    EXPECT_TRUE(buckets[i].in_place);
  }
  EXPECT_EQ(buckets[6].pieces.size(), 50U);
}

TEST(BucketPlan, CastsTravelInTheWireDtype) {
  const auto layout = TransferLayout::to_all({{0, 40'000}}, Cast{at::kBFloat16, at::kFloat});
  const auto buckets = plan_buckets({layout}, 4096);
  size_t wire = 0;
  size_t stored = 0;
  for (const Bucket& bucket : buckets) {
    EXPECT_FALSE(bucket.in_place);
    for (const Piece& piece : bucket.pieces) {
      EXPECT_EQ(piece.wire_begin, wire);
      EXPECT_EQ(piece.stored_begin, stored);
      EXPECT_EQ(piece.stored_bytes, 2 * piece.wire_bytes);
      wire += piece.wire_bytes;
      stored += piece.stored_bytes;
    }
  }
  EXPECT_EQ(wire, 20'000U);
  EXPECT_EQ(stored, 40'000U);
}

TEST(BucketPlan, CastsAreAlignedAndAViewsStretchesArePackedTightly) {
  const auto view = torch::real(torch::zeros({10'000}, torch::kComplexFloat));
  const auto strided = TransferLayout::to_all(occupied_bytes(spec_of(view)));
  const auto odd = TransferLayout::to_all({{0, 3}});
  const auto cast = TransferLayout::to_all({{0, 400}}, Cast{at::kBFloat16, at::kFloat});
  check({odd, cast, odd, cast}, 4096);
  size_t wire = 0;
  for (const Bucket& bucket : plan_buckets({strided}, 4096)) wire += bucket.bytes;
  EXPECT_EQ(wire, 40'000U);
}

/// A tensor of which every rank holds a part: on the wire the parts follow one another, and each
/// is stored from the beginning of its rank's own storage.
TransferLayout shards(int ranks, size_t bytes_of_each) {
  TransferLayout layout;
  for (int rank = 0; rank < ranks; ++rank) {
    layout.landings.push_back({{0, bytes_of_each}, RankSet::of({rank})});
  }
  return layout;
}

TEST(BucketPlan, SaysOnWhichRanksAPieceLands) {
  for (const size_t bytes : {size_t{1000}, size_t{1} << 20}) {
    const auto whole = TransferLayout::to_all({{0, 3 * bytes}});
    const auto buckets = plan_buckets({whole, shards(3, bytes), whole}, size_t{1} << 20);
    size_t wire = 0;
    for (const Bucket& bucket : buckets) {
      for (const Piece& piece : bucket.pieces) {
        EXPECT_EQ(bucket.ranks.is_all(), piece.transfer != 1);
        if (piece.transfer != 1) continue;
        EXPECT_EQ(piece.wire_begin, wire);
        const int rank = static_cast<int>(wire / bytes);
        EXPECT_EQ(piece.stored_begin, wire % bytes);
        for (int other = 0; other < 3; ++other) {
          EXPECT_EQ(bucket.ranks.contains(other), other == rank);
        }
        wire += piece.wire_bytes;
      }
    }
    EXPECT_EQ(wire, 3 * bytes);
  }
}

/// Replicas within two groups of ranks, which are named in some order, and what all ranks get.
std::vector<TransferLayout> replicated(bool in_another_order) {
  const RankSet even = RankSet::of(in_another_order ? std::vector{2, 0} : std::vector{0, 2});
  const RankSet odd = RankSet::of(in_another_order ? std::vector{3, 1} : std::vector{1, 3});
  std::vector<TransferLayout> layouts;
  for (const size_t bytes : {size_t{5000}, size_t{1} << 18}) {
    layouts.push_back({{{{0, bytes}, even}, {{0, bytes}, odd}}});
    layouts.push_back(TransferLayout::to_all({{8, 3000}}));
  }
  return layouts;
}

TEST(BucketPlan, IsTheSameOnEveryRankThatPlansForItself) {
  const auto once = plan_buckets(replicated(false), 65536);
  const auto again = plan_buckets(replicated(true), 65536);
  ASSERT_EQ(once.size(), again.size());
  for (size_t i = 0; i < once.size(); ++i) {
    EXPECT_EQ(once[i].bytes, again[i].bytes);
    EXPECT_EQ(once[i].in_place, again[i].in_place);
    EXPECT_EQ(once[i].ranks, again[i].ranks);
    ASSERT_EQ(once[i].pieces.size(), again[i].pieces.size());
    for (size_t j = 0; j < once[i].pieces.size(); ++j) {
      const Piece& a = once[i].pieces[j];
      const Piece& b = again[i].pieces[j];
      EXPECT_EQ(std::tie(a.transfer, a.stored_begin, a.stored_bytes, a.wire_begin, a.wire_bytes,
                         a.bucket_offset),
                std::tie(b.transfer, b.stored_begin, b.stored_bytes, b.wire_begin, b.wire_bytes,
                         b.bucket_offset));
    }
  }
}

TEST(BucketPlan, CastsOfShardsFollowOneAnotherOnTheWire) {
  TransferLayout layout = shards(2, 40'000);
  layout.cast = Cast{at::kBFloat16, at::kFloat};
  size_t wire = 0;
  for (const Bucket& bucket : plan_buckets({layout}, 4096)) {
    for (const Piece& piece : bucket.pieces) {
      EXPECT_EQ(piece.wire_begin, wire);
      EXPECT_EQ(piece.stored_begin, 2 * wire % 40'000);
      wire += piece.wire_bytes;
    }
  }
  EXPECT_EQ(wire, 40'000U);
}

TEST(BucketPlan, WhatLandsOnSomeRanksIsMovedByNoPipelineYet) {
  std::vector<Transfer> transfers(1);
  transfers[0].name = "weight";
  transfers[0].layout = shards(2, 100);
  EXPECT_THROW(plan_for_all_ranks(transfers, 4096), InternalError);
  transfers[0].layout = TransferLayout::to_all({{0, 100}});
  EXPECT_EQ(plan_for_all_ranks(transfers, 4096).size(), 1U);
}

TEST(RankSet, HoldsAllRanksOrSome) {
  EXPECT_TRUE(RankSet::all().contains(7));
  const RankSet some = RankSet::of({5, 1});
  EXPECT_TRUE(some.contains(1));
  EXPECT_FALSE(some.contains(2));
  EXPECT_EQ(some, RankSet::of({1, 5}));
  EXPECT_FALSE(some == RankSet::all());
}

TEST(BucketPlan, OfNothingIsNothing) {
  EXPECT_TRUE(plan_buckets({}, 4096).empty());
  EXPECT_TRUE(plan_buckets({TransferLayout{}}, 4096).empty());
}

}  // namespace
}  // namespace fakescore::detail
