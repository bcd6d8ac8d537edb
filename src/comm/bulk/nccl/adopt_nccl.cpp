#include "fakescore/comm/adopt_nccl.hpp"

#include <c10/cuda/CUDAStream.h>

#include "comm/bulk/nccl/nccl_plane.hpp"
#include "fakescore/error.hpp"

namespace fakescore {
namespace {

/// What an ncclComm_t says of itself.
struct NcclPlace {
  int rank = -1;
  int world_size = -1;
  int device = -1;
};

NcclPlace place_of(ncclComm_t comm) {
  NcclPlace place;
  const bool known = comm != nullptr && ncclCommUserRank(comm, &place.rank) == ncclSuccess &&
                     ncclCommCount(comm, &place.world_size) == ncclSuccess &&
                     ncclCommCuDevice(comm, &place.device) == ncclSuccess;
  if (!known) {
    throw ConfigError("ncclComm_t", "is null or not usable",
                      "pass a communicator that is initialised");
  }
  return place;
}

}  // namespace

std::unique_ptr<Communicator> adopt_nccl_communicator(ncclComm_t comm, cudaStream_t stream,
                                                      std::unique_ptr<Communicator> control,
                                                      at::Device device,
                                                      const AdoptOptions& options) {
  const NcclPlace place = place_of(comm);
  if (place.rank != control->rank() || place.world_size != control->world_size() ||
      !device.is_cuda() || place.device != device.index()) {
    throw ConfigError(
        "ncclComm_t",
        "is rank " + std::to_string(place.rank) + " of " + std::to_string(place.world_size) +
            " on GPU " + std::to_string(place.device) + ", not rank " +
            std::to_string(control->rank()) + " of " + std::to_string(control->world_size()) +
            " on " + device.str(),
        "pass a control communicator of the same ranks, and the GPU of the ncclComm_t");
  }
  const auto lane = c10::cuda::getStreamFromExternal(stream, device.index()).unwrap();
  return detail::add_nccl(*control, device, comm,
                          options.abort_on_failure ? detail::NcclOwnership::kAdoptedAborted
                                                   : detail::NcclOwnership::kAdopted,
                          lane);
}

}  // namespace fakescore
