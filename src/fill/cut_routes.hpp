#pragma once

#include <string>
#include <vector>

#include "fakescore/comm/communicator.hpp"
#include "transfer/transfer.hpp"

namespace fakescore::detail {

/// One tensor of which ranks keep parts; boxes are by rank.
struct CutTensor {
  std::string name;
  std::vector<int64_t> sizes;
  std::vector<Box> kept;
  /// Of a teacher in shards: what each rank has. Empty where the root has all.
  std::vector<Box> held{};
};

/// The routes of one tensor, as one rank has them.
struct TensorRoutes {
  std::vector<Route> sends;
  std::vector<Route> receives;
};

/// Of every rank.
struct RoutesByRank {
  std::vector<TensorRoutes> ranks;
  int latest = 0;  ///< the longest delay
};

/// The way of a tensor that the root has: it sends each box once, to the first of the ranks that
/// keep it, and each of these passes it on to the next. `rounds` are those between two of them.
/// Pure.
RoutesByRank route_from_root(const CutTensor& tensor, int root, int rounds);

/// The way of a tensor of which ranks have parts: a rank that has all that it keeps takes that. Of
/// the others that keep one box, the first gets each part from one of the ranks that have it, not
/// always the same one, and passes the box on to the next, unless one of those that have it all
/// does. Throws TeacherError where no rank has some of what a rank keeps, or where ranks have parts
/// that overlap and are not the same. `rounds` is as above. Pure.
RoutesByRank route_from_holders(const CutTensor& tensor, int rounds);

/// Collective. Gives cut tensors, of which each rank knows what it keeps and what it has, their
/// routes, which the root works out for all ranks: it alone learns of all boxes. Returns the
/// longest delay.
int agree_on_routes(Communicator& communicator, int root, std::vector<Transfer>& cuts,
                    const std::string& phase);

}  // namespace fakescore::detail
