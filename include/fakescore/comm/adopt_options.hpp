#pragma once

namespace fakescore {

/// What may be done to a host job's own communicator that is used but not owned.
struct AdoptOptions {
  /// Abort it when a broadcast fails, so that the GPU's streams are free again. An
  /// ncclComm_t no longer exists then: do not destroy it. Otherwise it is
  /// left as it is: the communicator made of it is broken, and the buffers in flight stay allocated
  /// for good. PyTorch's own watchdog may end the process once its timeout has passed.
  bool abort_on_failure = false;
};

}  // namespace fakescore
