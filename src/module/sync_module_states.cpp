#include "fakescore/module/sync_module_states.hpp"

#include "fakescore/module/module_tensors.hpp"

namespace fakescore {

SyncReport sync_module_states(torch::nn::Module& module, Communicator& communicator,
                              const SyncOptions& options) {
  return sync_tensors([&module] { return module_tensors(module); }, communicator, options);
}

}  // namespace fakescore
