#include "transfer/bucket_plan.hpp"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <random>

#include "fill/readers.hpp"
#include "tensor/byte_ranges.hpp"
#include "transfer/flight_plan.hpp"

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
    seen.emplace_back(transfer.ranges.empty() ? 0 : transfer.ranges.back().end, 0);
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
    for (const ByteRange& range : transfers[t].ranges) {
      std::fill(expected.begin() + static_cast<int64_t>(range.begin),
                expected.begin() + static_cast<int64_t>(range.end), 1);
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
        layout.ranges.push_back({begin, at});
      }
      transfers.push_back(layout);
    }
    check(transfers, 4096 << (random() % 8));
  }
}

TEST(BucketPlan, LargeTensorsLandInPlaceAndSmallOnesArePacked) {
  std::vector<TransferLayout> transfers(101);
  for (auto& transfer : transfers) transfer = TransferLayout{{{0, 4096}}};
  transfers[50] = TransferLayout{{{0, size_t{5} << 20}}};
  const auto buckets = plan_buckets(transfers, size_t{1} << 20);
  ASSERT_EQ(buckets.size(), 7U);
  EXPECT_EQ(buckets[0].pieces.size(), 50U);
  for (size_t i = 1; i <= 5; ++i) {
    EXPECT_TRUE(buckets[i].in_place);
  }
  EXPECT_EQ(buckets[6].pieces.size(), 50U);
}

TEST(BucketPlan, CastsTravelInTheWireDtype) {
  const auto layout = TransferLayout{{{0, 40'000}}, Cast{at::kBFloat16, at::kFloat}};
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
  const auto strided = TransferLayout{occupied_bytes(spec_of(view))};
  const auto odd = TransferLayout{{{0, 3}}};
  const auto cast = TransferLayout{{{0, 400}}, Cast{at::kBFloat16, at::kFloat}};
  check({odd, cast, odd, cast}, 4096);
  size_t wire = 0;
  for (const Bucket& bucket : plan_buckets({strided}, 4096)) wire += bucket.bytes;
  EXPECT_EQ(wire, 40'000U);
}

TEST(BucketPlan, NeverMixesRoots) {
  std::vector<TransferLayout> transfers;
  for (const size_t bytes : {size_t{1000}, size_t{1} << 18, size_t{3000}, size_t{7}}) {
    for (const int root : {2, 0, 0, 1}) {
      transfers.push_back({{{0, bytes}}});
      transfers.back().root = root;
    }
  }
  check(transfers, 65536);
  const auto buckets = plan_buckets(transfers, 65536);
  for (const Bucket& bucket : buckets) {
    for (const Piece& piece : bucket.pieces) EXPECT_EQ(transfers[piece.transfer].root, bucket.root);
  }
  for (const FlightPlan& flight : plan_flights(buckets, 1 << 20)) {
    for (size_t i = 0; i < flight.buckets; ++i) {
      EXPECT_EQ(buckets[flight.first_bucket + i].root, flight.root);
    }
  }
}

TEST(ShareReading, GivesEachRankStretchesOfNeighboursAndAFairPart) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    const int ranks = 1 + static_cast<int>(random() % 9);
    std::vector<uint64_t> bytes(random() % 300);
    uint64_t total = 0;
    uint64_t largest = 0;
    for (uint64_t& size : bytes) {
      size = random() % 5 == 0 ? random() % (size_t{200} << 20) : random() % 100'000;
      total += size;
      largest = std::max(largest, size);
    }
    const std::vector<int> readers = share_reading(bytes, ranks);
    ASSERT_EQ(readers.size(), bytes.size());
    std::vector<uint64_t> read(static_cast<size_t>(ranks));
    size_t changes = 0;
    for (size_t i = 0; i < readers.size(); ++i) {
      ASSERT_LT(readers[i], ranks);
      read[static_cast<size_t>(readers[i])] += bytes[i];
      if (i > 0 && readers[i] != readers[i - 1]) ++changes;
    }
    const uint64_t part = total / static_cast<uint64_t>(ranks);
    for (const uint64_t of_rank : read) EXPECT_LE(of_rank, 2 * part + largest + 1);
    const uint64_t stretch = std::min(part / 4, uint64_t{64} << 20);
    if (stretch > 0) {
      EXPECT_LE(changes, total / stretch + 1);
    }
  }
}

TEST(BucketPlan, OfNothingIsNothing) {
  EXPECT_TRUE(plan_buckets({}, 4096).empty());
  EXPECT_TRUE(plan_buckets({TransferLayout{}}, 4096).empty());
}

}  // namespace
}  // namespace fakescore::detail
