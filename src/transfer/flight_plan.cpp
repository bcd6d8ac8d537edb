#include "transfer/flight_plan.hpp"

#include <algorithm>

namespace fakescore::detail {

std::vector<FlightPlan> plan_flights(const std::vector<Bucket>& buckets, size_t flight_bytes) {
  std::vector<FlightPlan> flights;
  for (size_t i = 0; i < buckets.size(); ++i) {
    if (flights.empty() || flights.back().root != buckets[i].root ||
        flights.back().bytes + buckets[i].bytes > flight_bytes) {
      flights.push_back({i, 0, buckets[i].root, 0, 0, {}});
    }
    FlightPlan& flight = flights.back();
    ++flight.buckets;
    flight.bytes += buckets[i].bytes;
    size_t offset = 0;
    if (!buckets[i].in_place) {
      offset = (flight.packed_bytes + kCastAlignment - 1) / kCastAlignment * kCastAlignment;
      flight.packed_bytes = offset + buckets[i].bytes;
    }
    flight.scratch_offset.push_back(offset);
  }
  return flights;
}

size_t largest_packed_bytes(const std::vector<FlightPlan>& flights) {
  size_t largest = 0;
  for (const FlightPlan& flight : flights) largest = std::max(largest, flight.packed_bytes);
  return largest;
}

}  // namespace fakescore::detail
