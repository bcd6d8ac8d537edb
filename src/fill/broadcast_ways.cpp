#include "fill/broadcast_ways.hpp"

#include <algorithm>
#include <numeric>

#include "comm/bulk/shared_memory/shared_backend.hpp"
#include "comm/bulk/staged_plane.hpp"

namespace fakescore::detail {
namespace {

/// Up to so many ranks Open MPI 4.1 sends to each (ompi/mca/coll/libnbc/nbc_ibcast.c).
constexpr int kMostForEach = 4;

uint64_t sum_of(const std::vector<uint64_t>& bytes) {
  return std::accumulate(bytes.begin(), bytes.end(), uint64_t{0});
}

void send_to_each(const std::vector<uint64_t>& bytes, const Send& send) {
  const int ranks = static_cast<int>(bytes.size());
  for (int root = 0; root < ranks; ++root) {
    if (bytes[static_cast<size_t>(root)] == 0) continue;
    for (int rank = 0; rank < ranks; ++rank) {
      if (rank != root) send(root, rank, bytes[static_cast<size_t>(root)]);
    }
  }
}

/// Of one root the order is root, 1, ..., root - 1, 0, root + 1, ...
void send_in_swapped_chain(const std::vector<uint64_t>& bytes, const Send& send) {
  const int ranks = static_cast<int>(bytes.size());
  const uint64_t total = sum_of(bytes);
  for (int rank = 1; rank + 1 < ranks; ++rank) {
    const auto at = static_cast<size_t>(rank);
    send(rank, rank + 1, total - bytes[at] - bytes[at + 1]);
  }
  send(0, 1, bytes[0]);
  for (int root = 1; root < ranks; ++root) {
    const uint64_t of_root = bytes[static_cast<size_t>(root)];
    if (root > 1) send(root, 1, of_root);
    send(root > 1 ? root - 1 : root, 0, of_root);
    if (root + 1 < ranks) send(0, root + 1, of_root);
  }
}

void send_in_ring(const std::vector<uint64_t>& bytes, const Send& send) {
  const size_t ranks = bytes.size();
  const uint64_t total = sum_of(bytes);
  for (size_t rank = 0; rank < ranks; ++rank) {
    const size_t next = (rank + 1) % ranks;
    send(static_cast<int>(rank), static_cast<int>(next), total - bytes[next]);
  }
}

/// Rank root + v sends to root + v + step for each power of two `step` greater than v: over all
/// roots, what goes from one rank over one step is what neighbouring roots have.
void send_in_tree(const std::vector<uint64_t>& bytes, const Send& send) {
  const size_t ranks = bytes.size();
  for (size_t step = 1; step < ranks; step *= 2) {
    const size_t senders = std::min(step, ranks - step);
    uint64_t of_roots = 0;  // of the roots rank - senders + 1 to rank, for rank 0 first
    for (size_t v = 0; v < senders; ++v) of_roots += bytes[(ranks - v) % ranks];
    for (size_t rank = 0; rank < ranks; ++rank) {
      send(static_cast<int>(rank), static_cast<int>((rank + step) % ranks), of_roots);
      of_roots += bytes[(rank + 1) % ranks];
      of_roots -= bytes[(rank + 1 + ranks - senders) % ranks];
    }
  }
}

/// The server is rank 0's: what others read comes from there, whoever wrote it.
void send_over_store(const std::vector<uint64_t>& bytes, const Send& send) {
  const uint64_t total = sum_of(bytes);
  for (size_t rank = 1; rank < bytes.size(); ++rank) {
    send(static_cast<int>(rank), 0, bytes[rank]);
    send(0, static_cast<int>(rank), total - bytes[rank]);
  }
}

}  // namespace

std::optional<BroadcastWay> way_of_backend(const std::string& backend, int ranks, bool on_gpu) {
  if (backend.starts_with("mpi")) {
    return ranks <= kMostForEach ? BroadcastWay::kEach : BroadcastWay::kSwappedChain;
  }
  if (backend.starts_with("nccl")) return BroadcastWay::kRing;
  if (backend.starts_with("process group")) {
    const bool is_staged = backend.ends_with(kStaged);
    return on_gpu && !is_staged ? BroadcastWay::kRing : BroadcastWay::kTree;
  }
  if (backend.starts_with("store")) return BroadcastWay::kStore;
  if (backend.starts_with("local") || shares_memory(backend)) return BroadcastWay::kEach;
  return std::nullopt;
}

bool passes_on_by_hosts(const WholeBytes& whole) {
  // Of two, every broadcast crosses the link once.
  const int hops_after_the_first = whole.ranks - 2;
  if (whole.on_gpu || whole.hosts < 2 || hops_after_the_first < 1) return false;
  if (whole.backend.starts_with("store")) return false;
  constexpr uint64_t kLeastForAHop = uint64_t{8} << 20;
  return whole.bytes / static_cast<uint64_t>(hops_after_the_first) >= kLeastForAHop;
}

int longest_way(BroadcastWay way, int ranks) {
  if (ranks == 1) return 0;
  switch (way) {
    case BroadcastWay::kEach:
      return 1;
    case BroadcastWay::kStore:
      return 2;
    case BroadcastWay::kSwappedChain:
    case BroadcastWay::kRing:
      return ranks - 1;
    case BroadcastWay::kTree:
      break;
  }
  int steps = 0;
  while ((int64_t{1} << steps) < ranks) ++steps;
  return steps;
}

void broadcast_from_each(BroadcastWay way, const std::vector<uint64_t>& bytes, const Send& send) {
  if (bytes.size() < 2) return;
  switch (way) {
    case BroadcastWay::kEach:
      return send_to_each(bytes, send);
    case BroadcastWay::kSwappedChain:
      return send_in_swapped_chain(bytes, send);
    case BroadcastWay::kRing:
      return send_in_ring(bytes, send);
    case BroadcastWay::kTree:
      return send_in_tree(bytes, send);
    case BroadcastWay::kStore:
      return send_over_store(bytes, send);
  }
}

void pass_on_from_each(const std::vector<uint64_t>& bytes, int ranks_per_host, const Send& send) {
  const int hosts = static_cast<int>(bytes.size()) / ranks_per_host;
  const auto at = [&](int host, int place) { return host * ranks_per_host + place; };
  const auto of = [&](int rank) { return bytes[static_cast<size_t>(rank)]; };
  const int last = ranks_per_host - 1;
  const uint64_t total = sum_of(bytes);
  std::vector<uint64_t> of_host(static_cast<size_t>(hosts));
  for (size_t rank = 0; rank < bytes.size(); ++rank) {
    of_host[rank / static_cast<size_t>(ranks_per_host)] += bytes[rank];
  }
  for (int host = 0; host < hosts; ++host) {
    const uint64_t own = of_host[static_cast<size_t>(host)];
    const int next = (host + 1) % hosts;
    // Of another host's ranks from the first of this one to its last, of its own in a circle.
    for (int place = 0; place < last; ++place) {
      send(at(host, place), at(host, place + 1), total - of(at(host, place + 1)));
    }
    if (last > 0) send(at(host, last), at(host, 0), own - of(at(host, 0)));
    if (hosts == 1) continue;
    send(at(host, last), at(next, 0), total - own - of_host[static_cast<size_t>(next)]);
    for (int place = 0; place <= last; ++place) {
      send(at(host, (place + last) % ranks_per_host), at(next, 0), of(at(host, place)));
    }
  }
}

}  // namespace fakescore::detail
