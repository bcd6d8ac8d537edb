#pragma once

#include <vector>

#include "fakescore/comm/communicator.hpp"
#include "transfer/transfer.hpp"

namespace fakescore::detail {

/// exchange_transfers for destinations on a GPU, over the communicator's bulk plane for it. There
/// is at least one transfer. The root's buckets are read as the device pipeline reads them; parts
/// are cut on the GPU, on a communication stream.
TransferResult exchange_on_device(Communicator& communicator,
                                  const std::vector<Transfer>& transfers, int latest,
                                  const TransferOptions& options);

}  // namespace fakescore::detail
