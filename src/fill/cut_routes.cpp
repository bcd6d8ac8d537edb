#include "fill/cut_routes.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <tuple>
#include <utility>

#include "fakescore/error.hpp"
#include "tensor/boxes.hpp"

namespace fakescore::detail {
namespace {

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
  const auto before = [](const Route& a, const Route& b) {
    return std::tie(a.rank, a.rounds_later, a.box) < std::tie(b.rank, b.rounds_later, b.box);
  };
  for (TensorRoutes& of_rank : routes.ranks) {
    std::sort(of_rank.sends.begin(), of_rank.sends.end(), before);
    std::sort(of_rank.receives.begin(), of_rank.receives.end(), before);
  }
}

}  // namespace

std::vector<int> Chains::order(std::vector<int> ranks, int from) const {
  const int first = host_of(from);
  // Hosts in a circle that begins with the first one's, and so do the ranks of that host.
  const auto place = [&](int rank) {
    const int host = host_of(rank);
    return std::tuple(host < first, host, host == first && rank < from, rank);
  };
  std::sort(ranks.begin(), ranks.end(), [&](int a, int b) { return place(a) < place(b); });
  return ranks;
}

namespace {

/// The way of one box from rank to rank: from one of the same host, where there is one that has it.
class PassingOn {
 public:
  PassingOn(const Box& box, const Chains& chains, RoutesByRank& routes)
      : box_(box), chains_(chains), routes_(routes) {}

  /// A rank has it, so many rounds after the first one.
  void has_it(int rank, int delay) {
    last_ = &(by_host_[chains_.host_of(rank)] = {rank, delay + chains_.rounds});
  }

  /// False where nobody has it yet.
  bool to(int rank) {
    if (last_ == nullptr) return false;
    const auto here = by_host_.find(chains_.host_of(rank));
    const End from = here != by_host_.end() ? here->second : *last_;
    add(routes_, from.rank, rank, box_, from.delay);
    has_it(rank, from.delay);
    return true;
  }

 private:
  /// Who got it last, and when that rank can pass it on.
  struct End {
    int rank = 0;
    int delay = 0;
  };

  const Box& box_;
  const Chains& chains_;
  RoutesByRank& routes_;
  std::map<int, End> by_host_;
  const End* last_ = nullptr;
};

}  // namespace

RoutesByRank route_from_root(const CutTensor& tensor, int root, const Chains& chains) {
  RoutesByRank routes;
  routes.ranks.resize(tensor.kept.size());
  for (const auto& [box, ranks] : ranks_by_box(tensor.kept)) {
    PassingOn passing(box, chains, routes);
    passing.has_it(root, -chains.rounds);  // from its source
    for (const int rank : chains.order(ranks, root)) {
      if (rank == root) {
        add(routes, root, root, box, 0);
      } else {
        passing.to(rank);
      }
    }
  }
  sort_routes(routes);
  return routes;
}

TensorRoutes route_of_whole(int rank, int root, const Chains& chains) {
  std::vector<int> all(chains.hosts.size());
  std::iota(all.begin(), all.end(), 0);
  const std::vector<int> ranks = chains.order(std::move(all), root);
  const auto place =
      static_cast<size_t>(std::find(ranks.begin(), ranks.end(), rank) - ranks.begin());
  TensorRoutes routes;
  if (rank == root) routes.sends.push_back({root, {}, 0});
  const auto delay = [&](size_t hop) { return static_cast<int>(hop) * chains.rounds; };
  if (place > 0) routes.receives.push_back({ranks[place - 1], {}, delay(place - 1)});
  if (place + 1 < ranks.size()) routes.sends.push_back({ranks[place + 1], {}, delay(place)});
  std::sort(routes.sends.begin(), routes.sends.end(),
            [](const Route& a, const Route& b) { return a.rank < b.rank; });
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

/// Which of the ranks that have something gives it to another: itself, else one of its host, else
/// not always the same one.
int holder_for(int to, const std::vector<int>& ranks, const Chains& chains) {
  if (std::binary_search(ranks.begin(), ranks.end(), to)) return to;
  std::vector<int> of_host;
  for (const int rank : ranks) {
    if (chains.host_of(rank) == chains.host_of(to)) of_host.push_back(rank);
  }
  const std::vector<int>& from = of_host.empty() ? ranks : of_host;
  return from[static_cast<size_t>(to) % from.size()];
}

/// Brings a rank all parts of a box.
void gather_box(const CutTensor& tensor, const Holders& holders, int to, const Box& kept,
                const Chains& chains, RoutesByRank& routes) {
  int64_t found = 0;
  holders.for_each_common(kept, [&](const Box& common, const std::vector<int>& ranks) {
    add(routes, holder_for(to, ranks, chains), to, common, 0);
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

RoutesByRank route_from_holders(const CutTensor& tensor, const Chains& chains) {
  RoutesByRank routes;
  routes.ranks.resize(tensor.kept.size());
  const Holders holders(tensor);
  holders.require_disjoint(tensor.name);
  for (const auto& [kept, ranks] : ranks_by_box(tensor.kept)) {
    PassingOn passing(kept, chains, routes);
    std::vector<int> others;
    for (const int rank : ranks) {
      if (intersection(tensor.held[static_cast<size_t>(rank)], kept) == kept) {
        add(routes, rank, rank, kept, 0);
        passing.has_it(rank, 0);
      } else {
        others.push_back(rank);
      }
    }
    for (const int rank : chains.order(others, ranks.front())) {
      if (passing.to(rank)) continue;
      gather_box(tensor, holders, rank, kept, chains, routes);
      passing.has_it(rank, 0);
    }
  }
  sort_routes(routes);
  return routes;
}

namespace {

/// The first dimension along which a box can be cut into neighbouring elements; its last one if
/// none.
size_t first_cut(const Box& box) {
  size_t dim = 0;
  while (dim + 1 < box.sizes.size() && box.sizes[dim] == 1) ++dim;
  return dim;
}

/// Into how many shares a box can be cut.
size_t most_shares(const Box& box) {
  return box.sizes.empty() ? 1 : static_cast<size_t>(box.sizes[first_cut(box)]);
}

/// One of `shares` of a box: neighbouring elements of it, in row-major order.
Box share_of(const Box& box, size_t number, size_t shares) {
  Box share = box;
  if (shares == 1) return share;
  const size_t dim = first_cut(box);
  const auto at = [&](size_t end) {
    return box.sizes[dim] * static_cast<int64_t>(end) / static_cast<int64_t>(shares);
  };
  share.offsets[dim] += at(number);
  share.sizes[dim] = at(number + 1) - at(number);
  return share;
}

}  // namespace

RoutesByRank route_among_readers(const CutTensor& tensor, const ReadingTurn& turn,
                                 const Chains& chains) {
  RoutesByRank routes;
  routes.ranks.resize(tensor.kept.size());
  for (const auto& [box, keepers] : ranks_by_box(tensor.kept)) {
    const std::vector<int> ranks = chains.order(keepers, 0);
    const size_t shares = std::min({turn.shares, ranks.size(), most_shares(box)});
    for (size_t i = 0; i < shares; ++i) {
      const Box share = share_of(box, i, shares);
      const int reader = ranks[ranks.size() - 1 - (turn.first + i) % ranks.size()];
      routes.ranks[static_cast<size_t>(reader)].reads.push_back(share);
      PassingOn passing(share, chains, routes);
      // It lies in its place by then, as what is passed on does.
      passing.has_it(reader, 1 - chains.rounds);
      for (const int rank : chains.order(ranks, reader)) {
        if (rank != reader) passing.to(rank);
      }
    }
  }
  sort_routes(routes);
  return routes;
}

}  // namespace fakescore::detail
