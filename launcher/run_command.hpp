#pragma once

#include "fakescore/comm/communicator.hpp"
#include "options.hpp"

namespace fakescore::launcher {

/// The `run` command on one rank. Collective; throws Error, the same on every rank.
void run(const RunOptions& options, Communicator& communicator);

}  // namespace fakescore::launcher
