#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace fakescore::detail {

/// "1.5 s".
std::string in_seconds(std::chrono::milliseconds timeout);

/// "rank 3", "ranks 1, 2 and 5".
std::string name_ranks(const std::vector<int>& ranks);

}  // namespace fakescore::detail
