#pragma once

#include <string>

namespace fakescore::detail {

/// What the name of a backend begins with whose ranks share memory.
inline constexpr const char* kSharedMemory = "shared memory";

inline bool shares_memory(const std::string& backend) { return backend.starts_with(kSharedMemory); }

}  // namespace fakescore::detail
