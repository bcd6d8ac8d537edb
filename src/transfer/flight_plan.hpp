#pragma once

#include <cstddef>
#include <vector>

#include "transfer/bucket_plan.hpp"

namespace fakescore::detail {

/// Buckets that travel as one operation.
struct FlightPlan {
  size_t first_bucket = 0;
  size_t buckets = 0;
  int root = 0;
  size_t bytes = 0;         ///< on the wire
  size_t packed_bytes = 0;  ///< of scratch memory: all packed buckets in a row
  /// Where each bucket begins in the scratch memory; 0 for those in place.
  std::vector<size_t> scratch_offset;
};

/// Joins consecutive buckets of one root into flights of at most `flight_bytes`, or of one bucket.
std::vector<FlightPlan> plan_flights(const std::vector<Bucket>& buckets, size_t flight_bytes);

/// Bytes of the scratch memory that any of them fits.
size_t largest_packed_bytes(const std::vector<FlightPlan>& flights);

/// Used by the device pipeline.
inline constexpr size_t kFlightsInFlight = 3;

}  // namespace fakescore::detail
