#pragma once

#include <cstdint>
#include <numeric>
#include <vector>

namespace fakescore::testing {

/// Such as the bytes of all ranks.
inline uint64_t sum_of(const std::vector<uint64_t>& values) {
  return std::accumulate(values.begin(), values.end(), uint64_t{0});
}

}  // namespace fakescore::testing
