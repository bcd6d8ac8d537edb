#include "transfer/flight_plan.hpp"

#include <gtest/gtest.h>

#include <random>

namespace fakescore::detail {
namespace {

Bucket bucket_of(size_t bytes, bool in_place) {
  Bucket bucket;
  bucket.bytes = bytes;
  bucket.in_place = in_place;
  return bucket;
}

TEST(FlightPlan, OfNothingIsNothing) { EXPECT_TRUE(plan_flights({}, 100).empty()); }

TEST(FlightPlan, JoinsBucketsUpToItsSize) {
  const auto flights = plan_flights({bucket_of(40, true), bucket_of(60, false), bucket_of(1, true)},
                                    /*flight_bytes=*/100);
  ASSERT_EQ(flights.size(), 2U);
  EXPECT_EQ(flights[0].first_bucket, 0U);
  EXPECT_EQ(flights[0].buckets, 2U);
  EXPECT_EQ(flights[0].bytes, 100U);
  EXPECT_EQ(flights[0].packed_bytes, 60U);
  EXPECT_EQ(flights[1].first_bucket, 2U);
  EXPECT_EQ(flights[1].packed_bytes, 0U);
}

TEST(FlightPlan, GivesABucketThatIsLargerAFlightOfItsOwn) {
  const auto flights = plan_flights({bucket_of(1, true), bucket_of(500, true), bucket_of(1, true)},
                                    /*flight_bytes=*/100);
  ASSERT_EQ(flights.size(), 3U);
  EXPECT_EQ(flights[1].bytes, 500U);
}

/// Any buckets: each is in one flight, in order; packed ones are aligned and do not overlap.
TEST(FlightPlan, HoldsEveryBucketOnce) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    std::vector<Bucket> buckets;
    for (size_t i = random() % 40; i > 0; --i) {
      buckets.push_back(bucket_of(1 + random() % 300, random() % 2 == 0));
    }
    size_t next = 0;
    for (const FlightPlan& flight : plan_flights(buckets, /*flight_bytes=*/256)) {
      EXPECT_EQ(flight.first_bucket, next);
      ASSERT_EQ(flight.scratch_offset.size(), flight.buckets);
      size_t bytes = 0;
      size_t packed_end = 0;
      for (size_t i = 0; i < flight.buckets; ++i) {
        const Bucket& bucket = buckets.at(next++);
        bytes += bucket.bytes;
        if (bucket.in_place) continue;
        EXPECT_EQ(flight.scratch_offset[i] % kCastAlignment, 0U);
        EXPECT_GE(flight.scratch_offset[i], packed_end);
        packed_end = flight.scratch_offset[i] + bucket.bytes;
      }
      EXPECT_EQ(flight.bytes, bytes);
      EXPECT_EQ(flight.packed_bytes, packed_end);
      EXPECT_TRUE(flight.buckets == 1 || flight.bytes <= 256);
    }
    EXPECT_EQ(next, buckets.size());
  }
}

}  // namespace
}  // namespace fakescore::detail
