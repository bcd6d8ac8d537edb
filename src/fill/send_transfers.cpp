#include "fill/send_transfers.hpp"

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "comm/control/agreement.hpp"
#include "fill/broadcast_ways.hpp"
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

uint64_t bytes_between_agreements(int latest, size_t bucket_bytes) {
  constexpr uint64_t kBuckets = 16;
  return std::max(kBytesBetweenAgreements,
                  kBuckets * static_cast<uint64_t>(latest) * uint64_t{bucket_bytes});
}

namespace {

/// Of tensors whose routes are agreed, `latest` the longest delay of any.
void exchange_routed(const FillContext& context, std::vector<Transfer> cuts, int latest,
                     const CutSupply& supply, LinkCount& links, SplitProgress& progress) {
  links.add_exchange(cuts);
  Communicator& communicator = context.communicator;
  const TransferOptions& options = progress.options();
  const uint64_t most = bytes_between_agreements(latest, options.bucket_bytes);
  for (auto begin = cuts.begin(); begin != cuts.end();) {
    auto end = begin;
    uint64_t bytes = 0;
    for (; end != cuts.end() && bytes < most; ++end) bytes += end->whole_bytes;
    const std::vector<Transfer> some(std::make_move_iterator(begin), std::make_move_iterator(end));
    if (supply.read) agree(communicator, options.phase, supply.read(some).failure);
    const auto result = exchange_transfers(communicator, some, latest, options);
    agree(communicator, options.phase, result.failure);
    progress.add(bytes);
    begin = end;
  }
}

}  // namespace

void exchange_cuts(const FillContext& context, std::vector<Transfer> cuts, const CutSupply& supply,
                   LinkCount& links, SplitProgress& progress) {
  if (cuts.empty()) return;
  const TransferOptions& options = progress.options();
  const int latest =
      agree_on_routes(context.communicator, links.hosts(), context.options.root, supply.from,
                      exchanged_at_once(context.device, options), cuts, options.phase);
  exchange_routed(context, std::move(cuts), latest, supply, links, progress);
}

bool can_be_passed_on(const TransferLayout& layout) {
  return !layout.cast && layout.ranges.size() == 1;
}

namespace {

/// Whether those that can be are.
bool pass_on(const FillContext& context, const std::vector<Transfer>& transfers,
             const LinkCount& links) {
  uint64_t bytes = 0;
  for (const Transfer& transfer : transfers) {
    if (can_be_passed_on(transfer.layout)) bytes += wire_bytes(transfer.layout);
  }
  return passes_on_by_hosts({context.communicator.bulk(context.device).backend(),
                             !context.device.is_cpu(), links.host_count(),
                             context.communicator.world_size(), bytes});
}

/// Makes a tensor, all of which every rank keeps, a cut one; `routes` are those of its root.
void cut_whole(Transfer& transfer, TensorRoutes routes) {
  const ByteRange range = transfer.layout.ranges.front();
  const auto bytes = static_cast<int64_t>(range.size());
  const Box all{{0}, {bytes}};
  for (Route& route : routes.sends) route.box = all;
  for (Route& route : routes.receives) route.box = all;
  transfer.cut = Cut{Shard{{bytes}, all}, range.begin, 1};
  transfer.cut->sends = std::move(routes.sends);
  transfer.cut->receives = std::move(routes.receives);
  transfer.layout.ranges = {{0, range.size()}};
  transfer.layout.is_cut = true;
  transfer.whole_bytes = range.size();
}

/// Passes on what can be, and takes it out of the list.
void exchange_whole(const FillContext& context, std::vector<Transfer>& transfers, LinkCount& links,
                    SplitProgress& progress) {
  const Chains chains{kRoundsInFlight, links.hosts()};
  std::map<int, TensorRoutes> by_root;
  for (Transfer& transfer : transfers) {
    if (!can_be_passed_on(transfer.layout)) continue;
    const int root = transfer.layout.root;
    auto found = by_root.find(root);
    if (found == by_root.end()) {
      found =
          by_root.emplace(root, route_of_whole(context.communicator.rank(), root, chains)).first;
    }
    cut_whole(transfer, found->second);
  }
  const int latest = kRoundsInFlight * (context.communicator.world_size() - 2);
  exchange_routed(context, take_cuts(transfers), latest, {}, links, progress);
}

}  // namespace

uint64_t send_transfers(const FillContext& context, std::vector<Transfer> transfers,
                        const CutSupply& supply, LinkCount& links, const std::string& phase) {
  SplitProgress progress(context, phase, transfers);
  exchange_cuts(context, take_cuts(transfers), supply, links, progress);
  if (pass_on(context, transfers, links)) exchange_whole(context, transfers, links, progress);
  links.add_broadcasts(transfers, context.communicator.bulk(context.device));
  const auto result = broadcast_transfers(context.communicator, transfers, progress.options());
  agree(context.communicator, phase, result.failure);
  return progress.done() + result.bytes;
}

}  // namespace fakescore::detail
