#pragma once

#include "fakescore/comm/communicator.hpp"
#include "fakescore/export.hpp"
#include "fakescore/fill/sync_tensors.hpp"

namespace torch::nn {
class Module;
}

namespace fakescore {

/// sync_tensors for all parameters and buffers of `module`, in the order of module_tensors.
FAKESCORE_API SyncReport sync_module_states(torch::nn::Module& module, Communicator& communicator,
                                            const SyncOptions& options = {});

}  // namespace fakescore
