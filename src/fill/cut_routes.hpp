#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "transfer/cut.hpp"

namespace fakescore::detail {

/// One tensor of which ranks keep parts; boxes are by rank.
struct CutTensor {
  std::string name;
  std::vector<int64_t> sizes;
  std::vector<Box> kept;
  /// Of a teacher in shards: what each rank has. Empty where the root has all, or ranks read.
  std::vector<Box> held{};
};

/// How a part goes on from one of the ranks that keep it to the next.
struct Chains {
  int rounds = 0;            ///< between one and the next
  std::vector<int> hosts{};  ///< by rank; all of them on one if empty

  int host_of(int rank) const { return hosts.empty() ? 0 : hosts[static_cast<size_t>(rank)]; }
  /// Ranks in the order in which they get what `from` has: those of its host first, and then host
  /// by host, so that it comes to each host once.
  std::vector<int> order(std::vector<int> ranks, int from) const;
};

/// The routes of one tensor, as one rank has them. Those between two ranks are in the same order on
/// both.
struct TensorRoutes {
  std::vector<Route> sends;
  std::vector<Route> receives;
  std::vector<Box> reads{};  ///< what this rank brings from the files to its place before
};

/// Of every rank.
struct RoutesByRank {
  std::vector<TensorRoutes> ranks;
  int latest = 0;  ///< the longest delay
};

/// The way of a tensor that the root has: it sends each box once, to the first of the ranks that
/// keep it, and each of these passes it on to the next. Pure.
RoutesByRank route_from_root(const CutTensor& tensor, int root, const Chains& chains);

/// The same of what every rank keeps whole, as one rank alone has it, with empty boxes: it is the
/// way of whatever that root has. chains.hosts has every rank. The last of n ranks gets it
/// chains.rounds * (n - 2) rounds after the second. Pure.
TensorRoutes route_of_whole(int rank, int root, const Chains& chains);

/// The way of a tensor of which ranks have parts: a rank that has all that it keeps takes that. Of
/// the others that keep one box, the first gets each part from one of the ranks that have it, not
/// always the same one, and passes the box on to the next, unless one of those that have it all
/// does. Throws TeacherError where no rank has some of what a rank keeps, or where ranks have parts
/// that overlap and are not the same. Pure.
RoutesByRank route_from_holders(const CutTensor& tensor, const Chains& chains);

/// Whose turn it is to read a tensor, of the ranks that keep the same part.
struct ReadingTurn {
  size_t first = 0;   ///< counted over all tensors
  size_t shares = 1;  ///< the part is cut into so many, each the next one's
};

/// The way of a tensor in files that all ranks see: of the ranks that keep one box, one reads it,
/// or several a share of it each, to its place, from where it is passed on to the others. The turn
/// goes round backwards: what one rank receives comes ever later then, and seldom at once. Pure.
RoutesByRank route_among_readers(const CutTensor& tensor, const ReadingTurn& turn,
                                 const Chains& chains);

}  // namespace fakescore::detail
