#pragma once

#include <string>
#include <vector>

#include "fakescore/comm/communicator.hpp"

namespace fakescore::detail {

/// Collective. Every rank's message at the root, by rank, and nothing elsewhere: messages of any
/// length, of which no other rank is to know.
std::vector<std::string> collect_at(Communicator& communicator, int root,
                                    const std::string& message, const std::string& what);

/// Collective. Gives each rank its own of the root's messages, which are by rank.
std::string hand_out_from(Communicator& communicator, int root,
                          const std::vector<std::string>& messages, const std::string& what);

}  // namespace fakescore::detail
