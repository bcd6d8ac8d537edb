#pragma once

#include <functional>

#include "fakescore/comm/communicator.hpp"

namespace fakescore::testing {

/// Runs `body` once per rank of the world that the test's main set up: threads (local_main.cpp) or
/// this process as one rank of a job (process_main.cpp). A failure on any rank fails the run.
void run_on_every_rank(const std::function<void(Communicator&)>& body);

}  // namespace fakescore::testing
