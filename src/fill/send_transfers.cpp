#include "fill/send_transfers.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "comm/control/agreement.hpp"
#include "transfer/broadcast_transfers.hpp"
#include "transfer/exchange_transfers.hpp"

namespace fakescore::detail {

std::vector<Transfer> take_cuts(std::vector<Transfer>& transfers) {
  const auto first =
      std::stable_partition(transfers.begin(), transfers.end(),
                            [](const Transfer& transfer) { return !transfer.cut.has_value(); });
  std::vector<Transfer> cuts(std::make_move_iterator(first),
                             std::make_move_iterator(transfers.end()));
  transfers.erase(first, transfers.end());
  return cuts;
}

/// Ranks that neither send nor receive for long must not take a slow one for lost. Chains of ranks
/// that pass parts on begin anew each time, and are to be short beside what they carry.
uint64_t bytes_between_agreements(int latest, size_t bucket_bytes) {
  constexpr uint64_t kBuckets = 16;
  return std::max(kBytesBetweenAgreements,
                  kBuckets * static_cast<uint64_t>(latest) * uint64_t{bucket_bytes});
}

void exchange_cuts(const FillContext& context, std::vector<Transfer> cuts, const CutSupply& supply,
                   SplitProgress& progress) {
  if (cuts.empty()) return;
  Communicator& communicator = context.communicator;
  const TransferOptions& options = progress.options();
  const int latest =
      agree_on_routes(communicator, context.options.root, supply.from,
                      exchanged_at_once(context.device, options), cuts, options.phase);
  const uint64_t most = bytes_between_agreements(latest, options.bucket_bytes);
  for (auto begin = cuts.begin(); begin != cuts.end();) {
    auto end = begin;
    for (uint64_t bytes = 0; end != cuts.end() && bytes < most; ++end) bytes += end->whole_bytes;
    const std::vector<Transfer> some(std::make_move_iterator(begin), std::make_move_iterator(end));
    if (supply.read) agree(communicator, options.phase, supply.read(some).failure);
    const auto result = exchange_transfers(communicator, some, latest, options);
    agree(communicator, options.phase, result.failure);
    progress.add(result.bytes);
    begin = end;
  }
}

uint64_t send_transfers(const FillContext& context, std::vector<Transfer> transfers,
                        const CutSupply& supply, const std::string& phase) {
  SplitProgress progress(context, phase, transfers);
  std::vector<Transfer> cuts = take_cuts(transfers);
  exchange_cuts(context, std::move(cuts), supply, progress);
  const auto result = broadcast_transfers(context.communicator, transfers, progress.options());
  agree(context.communicator, phase, result.failure);
  return progress.done() + result.bytes;
}

}  // namespace fakescore::detail
