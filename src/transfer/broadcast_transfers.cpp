#include "transfer/broadcast_transfers.hpp"

#include "transfer/copy_transfers.hpp"
#include "transfer/device_pipeline.hpp"
#include "transfer/host_pipeline.hpp"

namespace fakescore::detail {

TransferResult broadcast_transfers(Communicator& communicator,
                                   const std::vector<Transfer>& transfers,
                                   const TransferOptions& options) {
  if (!transfers.empty() && !transfers.front().destination.is_cpu()) {
    return broadcast_to_device(communicator, transfers, options);
  }
  // Nothing has to be packed for nobody.
  if (communicator.world_size() == 1) return copy_transfers(transfers, 0, options);
  return broadcast_on_host(communicator, transfers, options);
}

}  // namespace fakescore::detail
