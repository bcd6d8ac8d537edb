#include "transfer/exchange_transfers.hpp"

#include "transfer/device_exchange.hpp"
#include "transfer/host_exchange.hpp"

namespace fakescore::detail {

TransferResult exchange_transfers(Communicator& communicator,
                                  const std::vector<Transfer>& transfers, int latest,
                                  const TransferOptions& options) {
  if (transfers.empty()) return {};
  return transfers.front().destination.is_cpu()
             ? exchange_on_host(communicator, transfers, latest, options)
             : exchange_on_device(communicator, transfers, latest, options);
}

}  // namespace fakescore::detail
