#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace fakescore::detail {

/// Called with the bytes that go from one rank to another.
using Send = std::function<void(int from, int to, uint64_t bytes)>;

/// How a backend's broadcasts go from rank to rank: what it does is not asked for but known.
enum class BroadcastWay {
  kEach,          ///< the root sends to every other rank
  kSwappedChain,  ///< from rank to rank in their order, in which the root and rank 0 change places
  kRing,          ///< from the root to the next rank, and on from each to its next
  kTree,          ///< binomial, in the order of the ring
  kStore,         ///< the root writes to a server on rank 0's host, from which the others read
};

/// Of `backend`, as TrafficOptions has it, for a job of so many ranks. Open MPI's MPI_Ibcast
/// changes its way with the number of ranks. Throws ConfigError for one that is not known.
BroadcastWay broadcast_way(const std::string& backend, int ranks, bool on_gpu);

/// Whether each rank passes what it gets on to one other.
inline bool is_chain(BroadcastWay way) {
  return way == BroadcastWay::kSwappedChain || way == BroadcastWay::kRing;
}

/// How often a byte is passed on until its last rank has it.
int longest_way(BroadcastWay way, int ranks);

/// Calls `send` with all that ranks send each other where rank r broadcasts bytes[r]: in time that
/// grows with the ranks and not with their square. Pure.
void broadcast_from_each(BroadcastWay way, const std::vector<uint64_t>& bytes, const Send& send);

}  // namespace fakescore::detail
