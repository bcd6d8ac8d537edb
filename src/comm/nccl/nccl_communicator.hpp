#pragma once

#include <nccl.h>

#include <memory>
#include <optional>

#include "comm/nccl/nccl_watch.hpp"
#include "fakescore/comm/communicator.hpp"

namespace fakescore::detail {

/// A communicator whose data plane is `comm` on `device`, and whose control plane is `control`.
/// Broadcasts go on `lane`, or on the current stream where there is none.
std::unique_ptr<Communicator> wrap_nccl(std::unique_ptr<Communicator> control, at::Device device,
                                        ncclComm_t comm, NcclOwnership ownership,
                                        std::optional<c10::Stream> lane = std::nullopt);

}  // namespace fakescore::detail
