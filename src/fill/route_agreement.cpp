#include "fill/route_agreement.hpp"

#include <map>
#include <utility>

#include "comm/bulk/collect.hpp"
#include "comm/host.hpp"
#include "error/wire.hpp"
#include "fakescore/comm/run_agreed.hpp"
#include "fill/cut_routes.hpp"
#include "tensor/shard_wire.hpp"
#include "transfer/exchange_transfers.hpp"

namespace fakescore::detail {

auto wire_fields(Route& route) { return std::tie(route.rank, route.box, route.rounds_later); }

auto wire_fields(TensorRoutes& routes) {
  return std::tie(routes.sends, routes.receives, routes.reads);
}

namespace {

/// What a rank says of its parts of all tensors, and where it is.
struct OwnBoxes {
  std::string host;
  std::vector<Box> kept;
  std::vector<Box> held;  ///< of holders
};

auto wire_fields(OwnBoxes& boxes) { return std::tie(boxes.host, boxes.kept, boxes.held); }

std::string describe_own(const std::vector<Transfer>& cuts) {
  OwnBoxes own;
  own.host = host_id();
  for (const Transfer& transfer : cuts) {
    own.kept.push_back(transfer.cut->own.box);
    if (transfer.cut->held) own.held.push_back(*transfer.cut->held);
  }
  return to_wire(own);
}

/// By rank, a number for its host.
std::vector<int> number_hosts(const std::vector<OwnBoxes>& ranks) {
  std::map<std::string, int> numbers;
  std::vector<int> hosts;
  for (const OwnBoxes& of_rank : ranks) {
    hosts.push_back(numbers.emplace(of_rank.host, static_cast<int>(numbers.size())).first->second);
  }
  return hosts;
}

/// By rank, the routes of all tensors, and the longest delay.
std::vector<std::string> route_all(const std::vector<std::string>& described, int root,
                                   CutsFrom from, const std::vector<Transfer>& cuts) {
  std::vector<OwnBoxes> boxes;
  for (const std::string& text : described) {
    boxes.push_back(std::get<0>(from_wire<OwnBoxes>(text, "a rank's parts")));
  }
  const Chains chains{kRoundsInFlight, number_hosts(boxes)};
  std::vector<std::vector<TensorRoutes>> by_rank(boxes.size());
  int latest = 0;
  for (size_t i = 0; i < cuts.size(); ++i) {
    CutTensor tensor{cuts[i].name, cuts[i].cut->own.global_sizes, {}, {}};
    for (const OwnBoxes& of_rank : boxes) {
      tensor.kept.push_back(of_rank.kept.at(i));
      if (from == CutsFrom::kHolders) tensor.held.push_back(of_rank.held.at(i));
    }
    RoutesByRank routes = from == CutsFrom::kRoot      ? route_from_root(tensor, root, chains)
                          : from == CutsFrom::kHolders ? route_from_holders(tensor, chains)
                                                       : route_among_readers(tensor, i, chains);
    latest = std::max(latest, routes.latest);
    for (size_t rank = 0; rank < by_rank.size(); ++rank) {
      by_rank[rank].push_back(std::move(routes.ranks[rank]));
    }
  }
  std::vector<std::string> encoded;
  for (const auto& routes : by_rank) encoded.push_back(to_wire(routes, latest));
  return encoded;
}

}  // namespace

int agree_on_routes(Communicator& communicator, int root, CutsFrom from,
                    std::vector<Transfer>& cuts, const std::string& phase) {
  const auto described = collect_at(communicator, root, describe_own(cuts), phase);
  std::vector<std::string> by_rank;
  run_agreed(communicator, phase, ErrorCode::kInternal, [&] {
    if (communicator.rank() == root) by_rank = route_all(described, root, from, cuts);
  });
  const std::string own = hand_out_from(communicator, root, by_rank, phase);
  auto [routes, latest] = from_wire<std::vector<TensorRoutes>, int>(own, "the routes of parts");
  for (size_t i = 0; i < cuts.size(); ++i) {
    cuts[i].cut->sends = std::move(routes.at(i).sends);
    cuts[i].cut->receives = std::move(routes.at(i).receives);
    if (from == CutsFrom::kReaders) cuts[i].cut->held = std::move(routes.at(i).reads);
  }
  return latest;
}

}  // namespace fakescore::detail
