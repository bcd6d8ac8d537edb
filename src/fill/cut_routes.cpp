#include "fill/cut_routes.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include "fakescore/error.hpp"

namespace fakescore::detail {
namespace {

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

std::vector<int> Chains::order(std::vector<int> ranks, int from) const {
  const auto host_of = [this](int rank) {
    return hosts.empty() ? 0 : hosts[static_cast<size_t>(rank)];
  };
  const int first = host_of(from);
  // Whoever is first, the others come in the same circle.
  const auto place = [&](int rank) {
    const int host = host_of(rank);
    return std::tuple(host < first, host, rank < from, rank);
  };
  std::sort(ranks.begin(), ranks.end(), [&](int a, int b) { return place(a) < place(b); });
  return ranks;
}

RoutesByRank route_from_root(const CutTensor& tensor, int root, const Chains& chains) {
  RoutesByRank routes;
  routes.ranks.resize(tensor.kept.size());
  for (const auto& [box, ranks] : ranks_by_box(tensor.kept)) {
    int from = root;
    int delay = 0;
    for (const int rank : chains.order(ranks, root)) {
      if (rank == root) {
        add(routes, root, root, box, 0);
        continue;
      }
      add(routes, from, rank, box, delay);
      from = rank;
      delay += chains.rounds;
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

RoutesByRank route_from_holders(const CutTensor& tensor, const Chains& chains) {
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
    int delay = from < 0 ? 0 : chains.rounds;
    for (const int rank : chains.order(others, from < 0 ? ranks.front() : from)) {
      if (from < 0) {
        gather_box(tensor, holders, rank, kept, routes);
      } else {
        add(routes, from, rank, kept, delay);
      }
      from = rank;
      delay += chains.rounds;
    }
  }
  sort_routes(routes);
  return routes;
}

namespace {

/// Shares below this are not worth a message of their own.
constexpr int64_t kSmallestShare = int64_t{16} << 10;

/// What one of `readers` ranks reads of a box: neighbouring elements of it, in row-major order.
Box share_of(const Box& box, size_t reader, size_t readers) {
  Box share = box;
  for (size_t dim = 0; dim < box.sizes.size(); ++dim) {
    if (box.sizes[dim] == 1) continue;
    const auto at = [&](size_t number) {
      return box.sizes[dim] * static_cast<int64_t>(number) / static_cast<int64_t>(readers);
    };
    share.offsets[dim] += at(reader);
    share.sizes[dim] = at(reader + 1) - at(reader);
    break;
  }
  return share;
}

/// What each of the ranks that keep a box reads of it; those that are missing read nothing.
std::map<int, Box> shares_of(const Box& box, const std::vector<int>& ranks, size_t turn) {
  const size_t readers = ranks.size();
  if (elements_of(box) < kSmallestShare * static_cast<int64_t>(readers)) {
    return {{ranks[turn % readers], box}};
  }
  std::map<int, Box> shares;
  for (size_t i = 0; i < readers; ++i) {
    const Box share = share_of(box, i, readers);
    if (elements_of(share) > 0) shares.emplace(ranks[i], share);
  }
  return shares;
}

}  // namespace

RoutesByRank route_among_readers(const CutTensor& tensor, size_t turn, const Chains& chains) {
  RoutesByRank routes;
  routes.ranks.resize(tensor.kept.size());
  const std::vector<int64_t> zeros(tensor.sizes.size());
  for (TensorRoutes& of_rank : routes.ranks) of_rank.reads = {zeros, zeros};
  for (const auto& [box, ranks] : ranks_by_box(tensor.kept)) {
    for (const auto& [reader, share] : shares_of(box, ranks, turn)) {
      routes.ranks[static_cast<size_t>(reader)].reads = share;
      int from = reader;
      // It lies in its place by then, as what is passed on does.
      int delay = 1;
      for (const int rank : chains.order(ranks, reader)) {
        if (rank == reader) continue;
        add(routes, from, rank, share, delay);
        from = rank;
        delay += chains.rounds;
      }
    }
  }
  sort_routes(routes);
  return routes;
}

}  // namespace fakescore::detail
