#include "transfer/exchange_rounds.hpp"

#include <algorithm>
#include <map>
#include <numeric>

#include "tensor/align_up.hpp"

namespace fakescore::detail {
namespace {

struct Elements {
  int64_t first;
  int64_t end;
};

Elements elements_of(const Piece& piece, const Cut& cut) {
  return {static_cast<int64_t>(piece.stored_begin / cut.element_bytes),
          static_cast<int64_t>((piece.stored_begin + piece.stored_bytes) / cut.element_bytes)};
}

Shard shard_of(const Route& route, const Cut& cut) { return {cut.own.global_sizes, route.box}; }

using ByRank = std::map<int, PeerPieces>;

void add_routes(const std::vector<Route>& routes, int delay, const Piece& piece,
                const Transfer& transfer, ByRank& peers) {
  const auto [first, end] = elements_of(piece, *transfer.cut);
  for (const Route& route : routes) {
    if (route.rounds_later != delay) continue;
    const int64_t count = count_in(shard_of(route, *transfer.cut), first, end);
    if (count == 0) continue;
    PeerPieces& peer = peers[route.rank];
    peer.rank = route.rank;
    peer.pieces.push_back({&piece, &route, peer.bytes});
    peer.bytes +=
        align_up(static_cast<size_t>(count) * element_bytes_of(route, transfer), kCastAlignment);
  }
}

std::vector<PeerPieces> values_of(ByRank&& peers) {
  std::vector<PeerPieces> values;
  values.reserve(peers.size());
  for (auto& [rank, peer] : peers) values.push_back(std::move(peer));
  return values;
}

}  // namespace

size_t bytes_of(const std::vector<PeerPieces>& peers) {
  return std::accumulate(peers.begin(), peers.end(), size_t{0},
                         [](size_t bytes, const PeerPieces& peer) { return bytes + peer.bytes; });
}

std::vector<Parcel> parcels_of(const std::vector<PeerPieces>& peers) {
  std::vector<Parcel> parcels;
  parcels.reserve(peers.size());
  for (const PeerPieces& peer : peers) {
    parcels.push_back({peer.rank, static_cast<int64_t>(peer.bytes)});
  }
  return parcels;
}

ExchangeRounds::ExchangeRounds(const std::vector<Transfer>& transfers,
                               const std::vector<Bucket>& buckets, int rank, int latest)
    : transfers_(transfers),
      buckets_(buckets),
      rank_(rank),
      count_(buckets.empty() ? 0 : buckets.size() + static_cast<size_t>(latest)) {
  for (const Transfer& transfer : transfers) {
    for (const Route& route : transfer.cut->sends) delays_.insert(route.rounds_later);
    for (const Route& route : transfer.cut->receives) delays_.insert(route.rounds_later);
  }
}

const std::string& ExchangeRounds::name_of(size_t number) const {
  const Bucket& bucket = buckets_[std::min(number, buckets_.size() - 1)];
  return transfers_[bucket.pieces.front().transfer].name;
}

ExchangeRound ExchangeRounds::at(size_t number) const {
  ByRank sends;
  ByRank receives;
  for (const int delay : delays_) {
    const size_t bucket = number - static_cast<size_t>(delay);
    if (static_cast<size_t>(delay) > number || bucket >= buckets_.size()) continue;
    for (const Piece& piece : buckets_[bucket].pieces) {
      const Transfer& transfer = transfers_[piece.transfer];
      add_routes(transfer.cut->sends, delay, piece, transfer, sends);
      add_routes(transfer.cut->receives, delay, piece, transfer, receives);
    }
  }
  ExchangeRound round;
  if (const auto own = sends.find(rank_); own != sends.end()) {
    round.kept = std::move(own->second.pieces);
    sends.erase(own);
  }
  round.sends = values_of(std::move(sends));
  round.receives = values_of(std::move(receives));
  return round;
}

void for_each_block(const RoutedPiece& routed, const Transfer& transfer,
                    const std::function<void(const Block&)>& use) {
  const auto [first, end] = elements_of(*routed.piece, *transfer.cut);
  for_each_block(shard_of(*routed.route, *transfer.cut), first, end, use);
}

std::optional<Cast> cast_of(const Route& route, const Transfer& transfer) {
  return route.rounds_later == 0 ? transfer.layout.cast : std::nullopt;
}

size_t element_bytes_of(const Route& route, const Transfer& transfer) {
  return wire_size(transfer.cut->element_bytes, cast_of(route, transfer));
}

std::optional<OnlyRun> only_run(const std::vector<PeerPieces>& peers,
                                const std::vector<Transfer>& transfers) {
  if (peers.size() != 1 || peers.front().pieces.size() != 1) return std::nullopt;
  const RoutedPiece& routed = peers.front().pieces.front();
  const Transfer& transfer = transfers[routed.piece->transfer];
  const auto elements =
      static_cast<int64_t>(peers.front().bytes / element_bytes_of(*routed.route, transfer));
  std::optional<OnlyRun> found;
  for_each_block(routed, transfer, [&](const Block& block) {
    if (block.count == 1 && block.length == elements) found = OnlyRun{routed, block};
  });
  return found;
}

namespace {

template <typename IndexOf>
Place place_of(const Block& block, size_t element_bytes, IndexOf index_of) {
  const auto bytes = static_cast<int64_t>(element_bytes);
  const int64_t first = index_of(block.begin);
  const int64_t step = block.count > 1 ? index_of(block.begin + block.stride) - first : 0;
  return {first * bytes, step * bytes};
}

}  // namespace

Place place_in_destination(const Block& block, const Transfer& transfer) {
  const Cut& cut = *transfer.cut;
  Place place = place_of(block, cut.element_bytes,
                         [&](int64_t element) { return index_in_box(cut.own, element); });
  place.first += static_cast<int64_t>(cut.begin);
  return place;
}

Place place_in_source(const Block& block, const Transfer& transfer, int64_t skipped) {
  const Cut& cut = *transfer.cut;
  return place_of(block, wire_size(cut.element_bytes, transfer.layout.cast), [&](int64_t element) {
    return cut.held ? index_in_box({cut.own.global_sizes, *cut.held}, element) : element - skipped;
  });
}

}  // namespace fakescore::detail
