#pragma once

#include <mpi.h>

#include <atomic>
#include <chrono>
#include <memory>

#include "comm/control/mpi_messages.hpp"
#include "comm/control/mpi_session.hpp"
#include "fakescore/comm/control_plane.hpp"

namespace fakescore::detail {

/// Sends `message` to every other rank of the group, with kWorkTag, now and then until it is
/// destroyed, but not while `waits`. From a thread of its own: MPI must have MPI_THREAD_MULTIPLE.
/// If that thread is stuck in MPI then, the group is kept for good.
std::unique_ptr<OwnWork> send_work(std::shared_ptr<MpiGroup> group, const Head& message,
                                   std::chrono::milliseconds timeout,
                                   std::shared_ptr<const std::atomic<bool>> waits);

}  // namespace fakescore::detail
