// In place of the MPI backend in a build without MPI.
#include "fakescore/comm/make_communicator.hpp"
#include "fakescore/core/error.hpp"

namespace fakescore {

bool has_mpi() noexcept { return false; }

std::unique_ptr<Communicator> make_mpi_communicator(std::chrono::milliseconds) {
  throw_error({ErrorCode::kConfig, -1, "launch", "MPI",
               "this build of fakescore lacks the MPI backend",
               "build with FAKESCORE_WITH_MPI=ON"});
}

}  // namespace fakescore
