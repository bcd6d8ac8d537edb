#include "fill/send_transfers.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "comm/control/agreement.hpp"
#include "fill/cut_routes.hpp"
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

void exchange_cuts(const FillContext& context, std::vector<Transfer> cuts,
                   SplitProgress& progress) {
  if (cuts.empty()) return;
  Communicator& communicator = context.communicator;
  const std::string& phase = progress.options().phase;
  const int latest = agree_on_routes(communicator, context.options.root, cuts, phase);
  const auto result = exchange_transfers(communicator, cuts, latest, progress.options());
  agree(communicator, phase, result.failure);
  progress.add(result.bytes);
}

uint64_t send_from_root(const FillContext& context, std::vector<Transfer> transfers,
                        const std::string& phase) {
  SplitProgress progress(context, phase, transfers);
  std::vector<Transfer> cuts = take_cuts(transfers);
  exchange_cuts(context, std::move(cuts), progress);
  const auto result = broadcast_transfers(context.communicator, transfers, progress.options());
  agree(context.communicator, phase, result.failure);
  return progress.done() + result.bytes;
}

}  // namespace fakescore::detail
