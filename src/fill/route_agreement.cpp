#include "fill/route_agreement.hpp"

#include <algorithm>
#include <utility>

#include "comm/bulk/collect.hpp"
#include "error/wire.hpp"
#include "fakescore/comm/run_agreed.hpp"
#include "fill/cut_routes.hpp"
#include "fill/reading_turns.hpp"
#include "tensor/boxes.hpp"
#include "tensor/shard_wire.hpp"
#include "transfer/exchange_transfers.hpp"

namespace fakescore::detail {

auto wire_fields(Route& route) { return std::tie(route.rank, route.box, route.rounds_later); }

auto wire_fields(TensorRoutes& routes) {
  return std::tie(routes.sends, routes.receives, routes.reads);
}

namespace {

/// What a rank says of its parts of all tensors.
struct OwnBoxes {
  std::vector<Box> kept;
  std::vector<Box> held;  ///< of holders
};

auto wire_fields(OwnBoxes& boxes) { return std::tie(boxes.kept, boxes.held); }

std::string describe_own(const std::vector<Transfer>& cuts) {
  OwnBoxes own;
  for (const Transfer& transfer : cuts) {
    own.kept.push_back(transfer.cut->own.box);
    if (transfer.cut->held) own.held.push_back(*transfer.cut->held);
  }
  return to_wire(own);
}

/// Readers take turns of so many bytes of whole tensors: long ones, for what is passed on with
/// several delays is not to come to a rank at once, but not so long that some ranks read nothing.
uint64_t stretch_of_turn(const std::vector<Transfer>& cuts, uint64_t round_bytes, size_t ranks) {
  constexpr uint64_t kTurnsOfARank = 4;
  uint64_t all = 0;
  for (const Transfer& transfer : cuts) all += transfer.whole_bytes;
  return std::clamp(all / (kTurnsOfARank * ranks), round_bytes, kRoundsInFlight * round_bytes);
}

uint64_t largest_part(const CutTensor& tensor, size_t element_bytes) {
  int64_t most = 0;
  for (const Box& box : tensor.kept) most = std::max(most, elements_of(box));
  return static_cast<uint64_t>(most) * element_bytes;
}

/// By rank, the routes of all tensors, and the longest delay.
std::vector<std::string> route_all(const std::vector<std::string>& described,
                                   const std::vector<int>& hosts, CutsFrom from,
                                   uint64_t round_bytes, const std::vector<Transfer>& cuts) {
  std::vector<OwnBoxes> boxes;
  for (const std::string& text : described) {
    boxes.push_back(std::get<0>(from_wire<OwnBoxes>(text, "a rank's parts")));
  }
  const Chains chains{kRoundsInFlight, hosts};
  ReadingTurns turns(stretch_of_turn(cuts, round_bytes, boxes.size()));
  std::vector<std::vector<TensorRoutes>> by_rank(boxes.size());
  int latest = 0;
  for (size_t i = 0; i < cuts.size(); ++i) {
    const Cut& cut = *cuts[i].cut;
    CutTensor tensor{cuts[i].name, cut.own.global_sizes, {}, {}};
    for (const OwnBoxes& of_rank : boxes) {
      tensor.kept.push_back(of_rank.kept.at(i));
      if (from == CutsFrom::kHolders) tensor.held.push_back(of_rank.held.at(i));
    }
    const auto route = [&] {
      if (from == CutsFrom::kRoot) return route_from_root(tensor, cuts[i].layout.root, chains);
      if (from == CutsFrom::kHolders) return route_from_holders(tensor, chains);
      const uint64_t part = largest_part(tensor, cut.element_bytes);
      return route_among_readers(tensor, turns.next(cuts[i].whole_bytes, part, cut.has_shares),
                                 chains);
    };
    RoutesByRank routes = route();
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

int agree_on_routes(Communicator& communicator, const std::vector<int>& hosts, int root,
                    CutsFrom from, uint64_t round_bytes, std::vector<Transfer>& cuts,
                    const std::string& phase) {
  const auto described = collect_at(communicator, root, describe_own(cuts), phase);
  std::vector<std::string> by_rank;
  run_agreed(communicator, phase, ErrorCode::kInternal, [&] {
    if (communicator.rank() == root) {
      by_rank = route_all(described, hosts, from, round_bytes, cuts);
    }
  });
  const std::string own = hand_out_from(communicator, root, by_rank, phase);
  auto [routes, latest] = from_wire<std::vector<TensorRoutes>, int>(own, "the routes of parts");
  for (size_t i = 0; i < cuts.size(); ++i) {
    cuts[i].cut->sends = std::move(routes.at(i).sends);
    cuts[i].cut->receives = std::move(routes.at(i).receives);
    cuts[i].cut->reads = std::move(routes.at(i).reads);
  }
  return latest;
}

}  // namespace fakescore::detail
