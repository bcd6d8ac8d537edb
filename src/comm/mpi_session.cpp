#include "comm/mpi_session.hpp"

#include <mpi.h>

#include <atomic>
#include <cstdlib>

#include "fakescore/core/error.hpp"

namespace fakescore::detail {
namespace {

// MPI can be initialised once a process and must be finalised by who did it, when the last
// communicator is gone and possibly long after the call: that makes this state the process's own.
std::atomic<bool> may_finalize{false};

void finalize_at_exit() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (may_finalize && finalized == 0) MPI_Finalize();
}

}  // namespace

void ensure_mpi() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (finalized != 0) {
    throw_error({ErrorCode::kConfig, -1, "launch", "MPI", "has been finalised already",
                 "create the communicator before MPI_Finalize"});
  }
  int initialized = 0;
  MPI_Initialized(&initialized);
  if (initialized != 0) return;
  int provided = 0;
  MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided);
  may_finalize = true;
  std::atexit(finalize_at_exit);
}

void never_finalize_mpi() noexcept { may_finalize = false; }

}  // namespace fakescore::detail
