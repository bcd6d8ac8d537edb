#include "fill/cut_routes.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "comm/bulk/collect.hpp"
#include "error/wire.hpp"
#include "fakescore/comm/run_agreed.hpp"
#include "fakescore/error.hpp"
#include "tensor/shard_wire.hpp"
#include "transfer/exchange_transfers.hpp"

namespace fakescore::detail {

auto wire_fields(Route& route) { return std::tie(route.rank, route.box, route.rounds_later); }

auto wire_fields(TensorRoutes& routes) { return std::tie(routes.sends, routes.receives); }

namespace {

/// What a rank says of its parts of all tensors.
struct OwnBoxes {
  std::vector<Box> kept;
  std::vector<Box> held;  ///< empty where the root has all
};

auto wire_fields(OwnBoxes& boxes) { return std::tie(boxes.kept, boxes.held); }

int64_t elements_of(const Box& box) {
  int64_t count = 1;
  for (const int64_t size : box.sizes) count *= size;
  return count;
}

/// Nullopt where they have no element in common.
std::optional<Box> intersection(const Box& a, const Box& b) {
  Box common;
  for (size_t i = 0; i < a.sizes.size(); ++i) {
    const int64_t begin = std::max(a.offsets[i], b.offsets[i]);
    const int64_t end = std::min(a.offsets[i] + a.sizes[i], b.offsets[i] + b.sizes[i]);
    if (begin >= end) return std::nullopt;
    common.offsets.push_back(begin);
    common.sizes.push_back(end - begin);
  }
  return common;
}

/// The boxes with elements, and who has them, ascending.
std::map<Box, std::vector<int>> ranks_by_box(const std::vector<Box>& boxes) {
  std::map<Box, std::vector<int>> ranks;
  for (size_t rank = 0; rank < boxes.size(); ++rank) {
    if (elements_of(boxes[rank]) > 0) ranks[boxes[rank]].push_back(static_cast<int>(rank));
  }
  return ranks;
}

void add(RoutesByRank& routes, int from, int to, const Box& box, int delay) {
  routes.ranks[static_cast<size_t>(from)].sends.push_back({to, box, delay});
  if (from != to) routes.ranks[static_cast<size_t>(to)].receives.push_back({from, box, delay});
  routes.latest = std::max(routes.latest, delay);
}

void sort_routes(RoutesByRank& routes) {
  const auto by_rank = [](const Route& a, const Route& b) { return a.rank < b.rank; };
  for (TensorRoutes& of_rank : routes.ranks) {
    std::sort(of_rank.sends.begin(), of_rank.sends.end(), by_rank);
    std::sort(of_rank.receives.begin(), of_rank.receives.end(), by_rank);
  }
}

}  // namespace

RoutesByRank route_from_root(const CutTensor& tensor, int root, int rounds) {
  RoutesByRank routes;
  routes.ranks.resize(tensor.kept.size());
  for (const auto& [box, ranks] : ranks_by_box(tensor.kept)) {
    int from = root;
    int delay = 0;
    for (const int rank : ranks) {
      if (rank == root) {
        add(routes, root, root, box, 0);
        continue;
      }
      add(routes, from, rank, box, delay);
      from = rank;
      delay += rounds;
    }
  }
  sort_routes(routes);
  return routes;
}

namespace {

/// The boxes that ranks have of a tensor, in an order in which those that reach into a box are
/// found without a look at all of them.
class Holders {
 public:
  explicit Holders(const CutTensor& tensor) : by_box_(ranks_by_box(tensor.held)) {
    if (by_box_.empty()) return;
    // The dimension along which most boxes begin elsewhere.
    size_t most = 0;
    for (size_t dim = 0; dim < tensor.sizes.size(); ++dim) {
      std::multimap<int64_t, Entry> sorted;
      size_t distinct = 0;
      int64_t longest = 0;
      for (const auto& entry : by_box_) {
        const int64_t begin = entry.first.offsets[dim];
        if (!sorted.contains(begin)) ++distinct;
        sorted.emplace(begin, &entry);
        longest = std::max(longest, entry.first.sizes[dim]);
      }
      if (distinct <= most) continue;
      most = distinct;
      dim_ = dim;
      longest_ = longest;
      sorted_ = std::move(sorted);
    }
    // A tensor without dimensions is one box.
    if (tensor.sizes.empty()) sorted_.emplace(0, &*by_box_.begin());
  }

  /// Calls `use` with what each box has in common with one, and who has it.
  template <typename Use>
  void for_each_common(const Box& box, Use use) const {
    auto at = sorted_.begin();
    auto end = sorted_.end();
    if (!box.sizes.empty()) {
      at = sorted_.upper_bound(box.offsets[dim_] - longest_);
      end = sorted_.lower_bound(box.offsets[dim_] + box.sizes[dim_]);
    }
    for (; at != end; ++at) {
      const auto common = intersection(at->second->first, box);
      if (common) use(*common, at->second->second);
    }
  }

  void require_disjoint(const std::string& name) const {
    for (const auto& [box, ranks] : by_box_) {
      for_each_common(box, [&, &box = box, &ranks = ranks](const Box&,
                                                           const std::vector<int>& others) {
        if (others == ranks) return;
        throw_error({ErrorCode::kTeacher, ranks.front(), "", name,
                     "is in the teacher in parts that overlap: those of ranks " +
                         std::to_string(ranks.front()) + " and " + std::to_string(others.front()),
                     "give parts that are disjoint or the same"});
      });
    }
  }

 private:
  using Entry = const std::pair<const Box, std::vector<int>>*;

  std::map<Box, std::vector<int>> by_box_;
  std::multimap<int64_t, Entry> sorted_;
  size_t dim_ = 0;
  int64_t longest_ = 0;  ///< of any box along it
};

/// Brings a rank all parts of a box.
void gather_box(const CutTensor& tensor, const Holders& holders, int to, const Box& kept,
                RoutesByRank& routes) {
  int64_t found = 0;
  holders.for_each_common(kept, [&](const Box& common, const std::vector<int>& ranks) {
    const bool is_here = std::binary_search(ranks.begin(), ranks.end(), to);
    add(routes, is_here ? to : ranks[static_cast<size_t>(to) % ranks.size()], to, common, 0);
    found += elements_of(common);
  });
  if (found == elements_of(kept)) return;
  throw_error({ErrorCode::kTeacher, to, "", tensor.name,
               "is kept in part by rank " + std::to_string(to) + ", but of its " +
                   std::to_string(elements_of(kept)) +
                   " elements there the ranks' parts of the teacher have " + std::to_string(found),
               "give the teacher on every rank that holds a part of it, or its files"});
}

}  // namespace

RoutesByRank route_from_holders(const CutTensor& tensor, int rounds) {
  RoutesByRank routes;
  routes.ranks.resize(tensor.kept.size());
  const Holders holders(tensor);
  holders.require_disjoint(tensor.name);
  for (const auto& [kept, ranks] : ranks_by_box(tensor.kept)) {
    int from = -1;
    std::vector<int> others;
    for (const int rank : ranks) {
      if (intersection(tensor.held[static_cast<size_t>(rank)], kept) == kept) {
        add(routes, rank, rank, kept, 0);
        from = rank;
      } else {
        others.push_back(rank);
      }
    }
    int delay = from < 0 ? 0 : rounds;
    for (const int rank : others) {
      if (from < 0) {
        gather_box(tensor, holders, rank, kept, routes);
      } else {
        add(routes, from, rank, kept, delay);
      }
      from = rank;
      delay += rounds;
    }
  }
  sort_routes(routes);
  return routes;
}

namespace {

std::string describe_own(const std::vector<Transfer>& cuts) {
  OwnBoxes own;
  for (const Transfer& transfer : cuts) {
    own.kept.push_back(transfer.cut->own.box);
    if (transfer.cut->held) own.held.push_back(*transfer.cut->held);
  }
  return to_wire(own);
}

/// By rank, the routes of all tensors, and the longest delay.
std::vector<std::string> route_all(const std::vector<std::string>& described, int root,
                                   const std::vector<Transfer>& cuts) {
  std::vector<OwnBoxes> boxes;
  for (const std::string& text : described) {
    boxes.push_back(std::get<0>(from_wire<OwnBoxes>(text, "a rank's parts")));
  }
  const size_t ranks = boxes.size();
  std::vector<std::vector<TensorRoutes>> by_rank(ranks);
  int latest = 0;
  for (size_t i = 0; i < cuts.size(); ++i) {
    CutTensor tensor{cuts[i].name, cuts[i].cut->own.global_sizes, {}, {}};
    for (const OwnBoxes& of_rank : boxes) {
      tensor.kept.push_back(of_rank.kept.at(i));
      if (!of_rank.held.empty()) tensor.held.push_back(of_rank.held.at(i));
    }
    RoutesByRank routes = tensor.held.empty() ? route_from_root(tensor, root, kRoundsInFlight)
                                              : route_from_holders(tensor, kRoundsInFlight);
    latest = std::max(latest, routes.latest);
    for (size_t rank = 0; rank < ranks; ++rank) {
      by_rank[rank].push_back(std::move(routes.ranks[rank]));
    }
  }
  std::vector<std::string> encoded;
  for (const auto& routes : by_rank) encoded.push_back(to_wire(routes, latest));
  return encoded;
}

}  // namespace

int agree_on_routes(Communicator& communicator, int root, std::vector<Transfer>& cuts,
                    const std::string& phase) {
  const auto described = collect_at(communicator, root, describe_own(cuts), phase);
  std::vector<std::string> by_rank;
  run_agreed(communicator, phase, ErrorCode::kInternal, [&] {
    if (communicator.rank() == root) by_rank = route_all(described, root, cuts);
  });
  const std::string own = hand_out_from(communicator, root, by_rank, phase);
  auto [routes, latest] = from_wire<std::vector<TensorRoutes>, int>(own, "the routes of parts");
  for (size_t i = 0; i < cuts.size(); ++i) {
    cuts[i].cut->sends = std::move(routes.at(i).sends);
    cuts[i].cut->receives = std::move(routes.at(i).receives);
  }
  return latest;
}

}  // namespace fakescore::detail
