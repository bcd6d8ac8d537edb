#pragma once

#include <mpi.h>

#include "comm/step.hpp"

namespace fakescore::detail {

/// Whether a peer has begun a census on this communicator, which carries nothing else.
bool census_has_begun(MPI_Comm census);

/// Tells every other rank which step this rank waits in, and listens for theirs, for at most
/// kCensusListens. Point to point: a rank that is lost holds nobody up.
Answers take_mpi_census(MPI_Comm census, int rank, int world_size, const Step& step);

}  // namespace fakescore::detail
