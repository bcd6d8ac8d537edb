#pragma once

#include <vector>

#include "fakescore/comm/communicator.hpp"
#include "transfer/transfer.hpp"

namespace fakescore::detail {

/// exchange_transfers for destinations in host memory. There is at least one transfer.
TransferResult exchange_on_host(Communicator& communicator, const std::vector<Transfer>& transfers,
                                int latest, const TransferOptions& options);

}  // namespace fakescore::detail
