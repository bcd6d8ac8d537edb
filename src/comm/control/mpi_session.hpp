#pragma once

#include <mpi.h>

#include <chrono>
#include <memory>

namespace fakescore::detail {

/// The communicators of one fakescore communicator. Kinds of traffic are apart, so that ranks that
/// call different steps wait for each other instead of taking each other's bytes.
struct MpiGroup {
  MPI_Comm control = MPI_COMM_NULL;
  MPI_Comm bulk = MPI_COMM_NULL;
  MPI_Comm census = MPI_COMM_NULL;
  int keyval = MPI_KEYVAL_INVALID;
  bool keep = false;    ///< a peer is lost: free nothing, MPI might wait for it
  bool closed = false;  ///< freed, by us or because the host program finalises MPI
};

/// Initialises MPI where nobody did and duplicates MPI_COMM_WORLD. The group is freed when the host
/// program finalises MPI, or by `close_group`.
std::shared_ptr<MpiGroup> open_group(std::chrono::milliseconds timeout);
void close_group(const std::shared_ptr<MpiGroup>& group) noexcept;

/// From now on the library does not finalise MPI at exit: MPI_Finalize waits for lost ranks.
void keep_mpi_initialised() noexcept;

}  // namespace fakescore::detail
