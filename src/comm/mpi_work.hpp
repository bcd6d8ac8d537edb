#pragma once

#include <mpi.h>

#include <atomic>
#include <chrono>
#include <memory>

#include "comm/mpi_messages.hpp"
#include "fakescore/comm/communicator.hpp"

namespace fakescore::detail {

/// Sends `message` to every other rank of `census`, with kWorkTag, now and then until it is
/// destroyed, but not while `waits`. From a thread of its own: MPI must have MPI_THREAD_MULTIPLE.
std::unique_ptr<OwnWork> send_work(MPI_Comm census, const Head& message,
                                   std::chrono::milliseconds timeout,
                                   std::shared_ptr<const std::atomic<bool>> waits);

}  // namespace fakescore::detail
