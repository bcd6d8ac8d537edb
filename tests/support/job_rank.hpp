#pragma once

#include <memory>

#include "fakescore/comm/communicator.hpp"

namespace fakescore::testing {

/// Where this process is one rank of a job: its place in it, which `run_on_every_rank` hands out.
/// A main makes it before the tests and resets it after them.
std::unique_ptr<Communicator>& job_communicator();

}  // namespace fakescore::testing
