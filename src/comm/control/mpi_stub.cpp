// The MPI backend of a build without MPI.
#include "comm/control/mpi_start.hpp"
#include "fakescore/comm/make_communicator.hpp"
#include "fakescore/error.hpp"

namespace fakescore {

bool has_mpi() noexcept { return false; }

bool detail::mpi_starts_by_pmi() noexcept { return false; }

std::unique_ptr<Communicator> make_mpi_communicator(std::chrono::milliseconds) {
  throw ConfigError("MPI", "this build of fakescore has no MPI backend",
                    "build with FAKESCORE_WITH_MPI=ON, or start the job with torchrun or "
                    "srun --mpi=none");
}

}  // namespace fakescore
