#pragma once

#include <vector>

#include "fakescore/comm/communicator.hpp"
#include "transfer/transfer.hpp"

namespace fakescore::detail {

/// The pipeline of broadcast_transfers for destinations in host memory, with other ranks. Large
/// stretches land in place; small ones and what is cast pass through scratch memory of
/// options.bucket_bytes for each of a few buckets. Pages are populated once, right before their
/// bucket.
TransferResult broadcast_on_host(Communicator& communicator, const std::vector<Transfer>& transfers,
                                 const TransferOptions& options);

}  // namespace fakescore::detail
