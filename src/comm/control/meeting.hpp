#pragma once

#include <string>
#include <vector>

#include "comm/control/step.hpp"
#include "fakescore/comm/control_plane.hpp"

namespace fakescore::detail {

/// What the messages of all ranks, indexed by rank, come to in a control call: all of them, the
/// root's, or whether they are the same. One rank works it out and the others are told, so that a
/// rank reads one message whatever the number of ranks.
std::string combine(const Step& step, std::vector<std::string> messages);

/// What `combine` made of an all_gather's messages, and of a compare's.
std::vector<std::string> read_all_gathered(const std::string& combined);
Comparison read_comparison(const std::string& combined);

}  // namespace fakescore::detail
