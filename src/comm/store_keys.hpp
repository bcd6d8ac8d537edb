#pragma once

#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <vector>

#include "comm/step.hpp"

namespace fakescore::detail {

std::vector<std::string> with_prefix(const std::string& prefix,
                                     const std::vector<std::string>& keys);

/// One key a rank: `begin` and the rank.
std::vector<std::string> keys_of_ranks(const std::string& begin, int world_size);

/// The answers under `keys`, one a rank, as far as they are there.
Answers read_answers(c10d::Store& store, const std::vector<std::string>& keys);

}  // namespace fakescore::detail
