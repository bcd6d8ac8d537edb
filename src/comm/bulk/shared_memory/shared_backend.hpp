#pragma once

#include <string>

namespace fakescore::detail {

/// What the name of a backend begins with whose ranks share memory.
inline constexpr const char* kSharedMemory = "shared memory";

/// Of which each has counts in every other one's segment.
inline constexpr int kMostSharingRanks = 256;

inline bool shares_memory(const std::string& backend) { return backend.starts_with(kSharedMemory); }

}  // namespace fakescore::detail
