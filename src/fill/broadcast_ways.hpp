#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace fakescore::detail {

/// Called with the bytes that go from one rank to another.
using Send = std::function<void(int from, int to, uint64_t bytes)>;

/// How broadcasts go from rank to rank: what a backend does is not asked for but known.
enum class BroadcastWay {
  kEach,          ///< the root sends to every other rank
  kSwappedChain,  ///< from rank to rank in their order, in which the root and rank 0 change places
  kRing,          ///< from the root to the next rank, and on from each to its next
  kTree,          ///< binomial, in the order of the ring
  kStore,         ///< the root writes to a server on rank 0's host, from which the others read
};

/// Of `backend`, which begins as TrafficOptions has it, for a job of so many ranks; nullopt for one
/// that is not known. Open MPI's MPI_Ibcast changes its way with the number of ranks.
std::optional<BroadcastWay> way_of_backend(const std::string& backend, int ranks, bool on_gpu);

/// A job, and what a rank or several have for all others.
struct WholeBytes {
  std::string backend;
  bool on_gpu = false;
  int hosts = 1;
  int ranks = 1;
  uint64_t bytes = 0;  ///< of all that could be passed on, at a time
};

/// Whether it is passed on from rank to rank, host by host (Chains), rather than broadcast: where a
/// backend's broadcasts may cross the link between two hosts more than once. Over a store all goes
/// by way of its server in any case, and little is sooner there by a broadcast: each rank of a
/// chain is some exchanges of all ranks behind the one before. Pure.
bool passes_on_by_hosts(const WholeBytes& whole);

/// Whether each rank passes what it gets on to one other.
inline bool is_chain(BroadcastWay way) {
  return way == BroadcastWay::kSwappedChain || way == BroadcastWay::kRing;
}

/// How often a byte is passed on until its last rank has it.
int longest_way(BroadcastWay way, int ranks);

/// Calls `send` with all that ranks send each other where rank r broadcasts bytes[r]: in time that
/// grows with the ranks, and not with their square but for kEach, whose roots send to every rank.
/// Pure.
void broadcast_from_each(BroadcastWay way, const std::vector<uint64_t>& bytes, const Send& send);

/// The same where rank r's are passed on host by host (passes_on_by_hosts). Host h has the ranks
/// from h * ranks_per_host on. Pure.
void pass_on_from_each(const std::vector<uint64_t>& bytes, int ranks_per_host, const Send& send);

}  // namespace fakescore::detail
