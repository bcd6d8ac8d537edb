#pragma once

namespace fakescore {

/// What fakescore may do to a communicator that it uses but does not own.
struct AdoptOptions {
  /// Abort it when a broadcast fails, so that the GPU's streams are free again. An ncclComm_t no
  /// longer exists then: do not destroy it. If this is false it is left as it is: the communicator
  /// made from it is broken, and the buffers in flight are never freed. PyTorch's own watchdog may
  /// end the process once its timeout has passed.
  bool abort_on_failure = false;
};

}  // namespace fakescore
