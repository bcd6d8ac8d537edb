#pragma once

#include <string>

#include "fakescore/comm/communicator.hpp"
#include "fakescore/tensor/manifest.hpp"

namespace fakescore::detail {

/// Collective. Whether on two hosts there are ranks that keep the same part of every tensor.
bool hosts_keep_the_same_parts(Communicator& communicator, const Manifest& own,
                               const std::string& phase);

}  // namespace fakescore::detail
