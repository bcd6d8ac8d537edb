#include "transfer/exchange_transfers.hpp"

#include "transfer/device_exchange.hpp"
#include "transfer/host_exchange.hpp"

namespace fakescore::detail {

size_t exchanged_at_once(at::Device device, const TransferOptions& options) {
  // On CPUs a bucket is mostly for one rank, and an exchange costs all of them: of so many buckets.
  constexpr size_t kBuckets = 8;
  return device.is_cpu() ? kBuckets * options.bucket_bytes : options.bucket_bytes;
}

TransferResult exchange_transfers(Communicator& communicator,
                                  const std::vector<Transfer>& transfers, int latest,
                                  const TransferOptions& options) {
  if (transfers.empty()) return {};
  return transfers.front().destination.is_cpu()
             ? exchange_on_host(communicator, transfers, latest, options)
             : exchange_on_device(communicator, transfers, latest, options);
}

}  // namespace fakescore::detail
