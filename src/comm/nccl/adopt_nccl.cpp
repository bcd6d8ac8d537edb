#include "fakescore/comm/adopt_nccl.hpp"

#include <c10/cuda/CUDAStream.h>

#include "comm/nccl/nccl_communicator.hpp"
#include "fakescore/error.hpp"

namespace fakescore {
namespace {

/// What an ncclComm_t says of itself.
struct Seat {
  int rank = -1;
  int world_size = -1;
  int device = -1;
};

Seat seat_of(ncclComm_t comm) {
  Seat seat;
  const bool known = comm != nullptr && ncclCommUserRank(comm, &seat.rank) == ncclSuccess &&
                     ncclCommCount(comm, &seat.world_size) == ncclSuccess &&
                     ncclCommCuDevice(comm, &seat.device) == ncclSuccess;
  if (!known) {
    throw ConfigError("ncclComm_t", "is null or not usable",
                      "pass a communicator that is initialised");
  }
  return seat;
}

}  // namespace

std::unique_ptr<Communicator> adopt_nccl_communicator(ncclComm_t comm, cudaStream_t stream,
                                                      std::unique_ptr<Communicator> control,
                                                      at::Device device,
                                                      const AdoptOptions& options) {
  const Seat seat = seat_of(comm);
  if (seat.rank != control->rank() || seat.world_size != control->world_size() ||
      !device.is_cuda() || seat.device != device.index()) {
    throw ConfigError(
        "ncclComm_t",
        "is rank " + std::to_string(seat.rank) + " of " + std::to_string(seat.world_size) +
            " on GPU " + std::to_string(seat.device) + ", not rank " +
            std::to_string(control->rank()) + " of " + std::to_string(control->world_size()) +
            " on " + device.str(),
        "pass a control communicator of the same ranks, and the GPU of the ncclComm_t");
  }
  const auto lane = c10::cuda::getStreamFromExternal(stream, device.index()).unwrap();
  return detail::wrap_nccl(std::move(control), device, comm,
                           options.abort_on_failure ? detail::NcclOwnership::kAdoptedAborted
                                                    : detail::NcclOwnership::kAdopted,
                           lane);
}

}  // namespace fakescore
