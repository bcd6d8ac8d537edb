#pragma once

#include "fakescore/comm/communicator.hpp"
#include "fakescore/comm/launch_env.hpp"
#include "options.hpp"

namespace fakescore::launcher {

/// The `run` command on one rank, which `env` says how it was found. Collective; throws Error, the
/// same on every rank.
void run(const RunOptions& options, const LaunchEnv& env, Communicator& communicator);

}  // namespace fakescore::launcher
