#include "fill/readers.hpp"

#include <algorithm>
#include <numeric>

namespace fakescore::detail {
namespace {

constexpr uint64_t kLongestStretch = uint64_t{64} << 20;
/// Of a small teacher each rank still gets some.
constexpr uint64_t kStretchesOfARank = 4;

}  // namespace

std::vector<int> share_reading(const std::vector<uint64_t>& bytes, int ranks) {
  const uint64_t total = std::accumulate(bytes.begin(), bytes.end(), uint64_t{0});
  const uint64_t stretch = std::clamp(total / (kStretchesOfARank * static_cast<uint64_t>(ranks)),
                                      uint64_t{1}, kLongestStretch);
  std::vector<uint64_t> read(static_cast<size_t>(ranks));
  std::vector<int> readers;
  readers.reserve(bytes.size());
  int reader = 0;
  uint64_t in_stretch = 0;
  for (const uint64_t size : bytes) {
    if (in_stretch >= stretch) {
      in_stretch = 0;
      // Whoever has read least is next, and of several the one whose turn it is.
      int next = (reader + ranks - 1) % ranks;
      for (int i = 2; i <= ranks; ++i) {
        const int other = (reader + ranks - i % ranks) % ranks;
        if (read[static_cast<size_t>(other)] < read[static_cast<size_t>(next)]) next = other;
      }
      reader = next;
    }
    readers.push_back(reader);
    read[static_cast<size_t>(reader)] += size;
    in_stretch += size;
  }
  return readers;
}

}  // namespace fakescore::detail
