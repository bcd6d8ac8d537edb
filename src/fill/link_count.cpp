#include "fill/link_count.hpp"

#include "fill/broadcast_ways.hpp"
#include "tensor/boxes.hpp"
#include "transfer/exchange_rounds.hpp"

namespace fakescore::detail {
namespace {

uint64_t bytes_of(const Route& route, const Transfer& transfer) {
  return static_cast<uint64_t>(elements_of(route.box)) * element_bytes_of(route, transfer);
}

}  // namespace

void LinkCount::add_exchange(const std::vector<Transfer>& cuts) {
  for (const Transfer& transfer : cuts) {
    for (const Route& route : transfer.cut->sends) {
      add(rank_, route.rank, bytes_of(route, transfer));
    }
    for (const Route& route : transfer.cut->receives) {
      add(route.rank, rank_, bytes_of(route, transfer));
    }
  }
}

void LinkCount::add_broadcasts(const std::vector<Transfer>& transfers, const BulkPlane& plane) {
  std::vector<uint64_t> by_root(hosts_.size());
  for (const Transfer& transfer : transfers) {
    by_root[static_cast<size_t>(transfer.layout.root)] += wire_bytes(transfer.layout);
  }
  if (std::all_of(by_root.begin(), by_root.end(), [](uint64_t bytes) { return bytes == 0; })) {
    return;
  }
  const auto way =
      way_of_backend(plane.backend(), static_cast<int>(hosts_.size()), !plane.device().is_cpu());
  // Of a plane of a program's own only its promise is known.
  broadcast_from_each(way.value_or(BroadcastWay::kEach), by_root,
                      [this](int from, int to, uint64_t bytes) { add(from, to, bytes); });
}

void LinkCount::add(int from, int to, uint64_t bytes) {
  if (from == to) return;
  const bool crosses = hosts_[static_cast<size_t>(from)] != hosts_[static_cast<size_t>(to)];
  if (from == rank_) {
    bytes_.sent += bytes;
    if (crosses) bytes_.to_other_hosts += bytes;
  }
  if (to == rank_) {
    bytes_.received += bytes;
    if (crosses) bytes_.from_other_hosts += bytes;
  }
}

}  // namespace fakescore::detail
