#pragma once

#include <vector>

#include "fakescore/comm/communicator.hpp"
#include "transfer/transfer.hpp"

namespace fakescore::detail {

/// Streams storages to every rank in buckets, several in flight, each from its layout's root. All
/// destinations lie on one device: host memory (see host_pipeline.hpp), or a GPU that the
/// communicator carries (see device_pipeline.hpp). Collective, with the same layouts everywhere; a
/// layout's root alone has its source.
/// Throws CommError for a lost peer.
TransferResult broadcast_transfers(Communicator& communicator,
                                   const std::vector<Transfer>& transfers,
                                   const TransferOptions& options);

}  // namespace fakescore::detail
