#pragma once

#include <cstdint>
#include <vector>

namespace fakescore::detail {

/// Which rank reads each of a list of tensors, given their bytes, if all ranks share the reading:
/// neighbours together, in stretches of up to 64 MiB that ranks take in turn, so that each reads
/// long stretches of a file, and while one sends the next has read. Pure.
std::vector<int> share_reading(const std::vector<uint64_t>& bytes, int ranks);

}  // namespace fakescore::detail
