#pragma once

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <memory>

#include "fakescore/comm/adopt_options.hpp"
#include "fakescore/comm/communicator.hpp"
#include "fakescore/export.hpp"

namespace fakescore {

/// A communicator over an ncclComm_t and a stream of the host job, which are used and never owned:
/// both must outlive the communicator, and nothing else may use `comm` during one of its calls.
/// `control` carries the messages and has the same ranks; `device` is the GPU of `comm`. Broadcasts
/// run on `stream`. They begin after the work already on the calling thread's current stream, and
/// that stream then waits for them. Deadlines hold if `comm` was made with config.blocking = 0, or
/// if options.abort_on_failure is set. Throws ConfigError if the ranks or the device are not those
/// of `comm`.
FAKESCORE_API std::unique_ptr<Communicator> adopt_nccl_communicator(
    ncclComm_t comm, cudaStream_t stream, std::unique_ptr<Communicator> control, at::Device device,
    const AdoptOptions& options = {});

}  // namespace fakescore
