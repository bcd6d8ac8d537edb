#pragma once

#include "nccl/communicator.hpp"
#include "nccl/operation.hpp"

namespace fakescore::emulation {

/// Runs on the thread of a stream. False once the communicator was aborted.
bool run_collective(Communicator& communicator, const NcclOperation& operation);

}  // namespace fakescore::emulation
