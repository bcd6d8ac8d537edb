#pragma once

#include <vector>

#include "nccl/communicator.hpp"
#include "nccl/operation.hpp"

namespace fakescore::emulation {

/// Runs the sends and receives among the operations of a group, all of them at once: on the thread
/// of a stream. A send ends once its message was taken. False once the communicator was aborted.
bool run_messages(Communicator& communicator, const std::vector<NcclOperation>& operations);

}  // namespace fakescore::emulation
