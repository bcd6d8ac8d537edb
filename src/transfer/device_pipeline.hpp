#pragma once

#include <vector>

#include "fakescore/comm/communicator.hpp"
#include "transfer/transfer.hpp"

namespace fakescore::detail {

/// The pipeline of broadcast_transfers for destinations on a GPU, over the communicator's bulk
/// plane for it. There is at least one transfer.
///
/// The root's reader threads fill pinned slots; a copy stream takes them to the device; a
/// communication stream broadcasts and unpacks. Large stretches land in place, small ones and what
/// is cast pass through scratch memory of options.bucket_bytes for each of a few flights. Sources
/// on the root's GPU are copied there and do not pass through the host.
///
/// Begins after what the current stream was given before; when it returns, all is done on the
/// device, so that the destinations may be used on any stream.
TransferResult broadcast_to_device(Communicator& communicator,
                                   const std::vector<Transfer>& transfers,
                                   const TransferOptions& options);

/// The same without other ranks: each storage from this rank's own source. Throws nothing: whatever
/// fails is the result's. `rank` is this one's, for errors.
TransferResult copy_to_device(const std::vector<Transfer>& transfers, at::Device device, int rank,
                              const TransferOptions& options);

}  // namespace fakescore::detail
