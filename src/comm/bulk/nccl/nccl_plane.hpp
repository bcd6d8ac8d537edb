#pragma once

#include <nccl.h>

#include <memory>
#include <optional>

#include "comm/bulk/nccl/nccl_watch.hpp"
#include "fakescore/comm/communicator.hpp"

namespace fakescore::detail {

/// The planes of `host`, with `comm` on `device` for the GPU's data. Broadcasts go on `lane`, or on
/// the current stream where there is none.
std::unique_ptr<Communicator> add_nccl(const Communicator& host, at::Device device, ncclComm_t comm,
                                       NcclOwnership ownership,
                                       std::optional<c10::Stream> lane = std::nullopt);

}  // namespace fakescore::detail
