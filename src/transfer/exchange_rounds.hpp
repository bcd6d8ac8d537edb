#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "fakescore/comm/bulk_plane.hpp"
#include "transfer/transfer.hpp"

namespace fakescore::detail {

/// What a piece has of a route's box.
struct RoutedPiece {
  const Piece* piece = nullptr;
  const Route* route = nullptr;
  size_t offset = 0;  ///< in what goes to the route's rank, aligned for any element
};

/// What goes to one rank, or comes from it: each piece's elements in ascending order.
struct PeerPieces {
  int rank = 0;
  size_t bytes = 0;  ///< with the gaps of alignment
  std::vector<RoutedPiece> pieces;
};

/// What one rank does in one exchange.
struct ExchangeRound {
  std::vector<PeerPieces> sends;     ///< ascending ranks
  std::vector<PeerPieces> receives;  ///< ascending ranks
  std::vector<RoutedPiece> kept;     ///< from its source to its destination
};

size_t bytes_of(const std::vector<PeerPieces>& peers);
std::vector<Parcel> parcels_of(const std::vector<PeerPieces>& peers);

/// Which exchanges bring the buckets of cut tensors to where they go. Pure: each rank plans its own
/// part, and two ranks that share a route plan the same of it.
class ExchangeRounds {
 public:
  /// `latest` is the longest delay of any rank's route.
  ExchangeRounds(const std::vector<Transfer>& transfers, const std::vector<Bucket>& buckets,
                 int rank, int latest);

  size_t count() const noexcept { return count_; }
  ExchangeRound at(size_t number) const;
  /// A tensor of it, for errors: the same on every rank.
  const std::string& name_of(size_t number) const;

 private:
  const std::vector<Transfer>& transfers_;
  const std::vector<Bucket>& buckets_;
  int rank_;
  size_t count_;
  std::set<int> delays_;  ///< of this rank's routes
};

/// Calls `use` with the blocks of a route's box within a piece.
void for_each_block(const RoutedPiece& routed, const Transfer& transfer,
                    const std::function<void(const Block&)>& use);

/// How elements lie on a route: those that are passed on are as they are stored.
std::optional<Cast> cast_of(const Route& route, const Transfer& transfer);

/// Bytes of one element on a route.
size_t element_bytes_of(const Route& route, const Transfer& transfer);

/// All that goes one way in a round, if it is neighbouring bytes without a gap where it lies, which
/// then needs no packing.
struct OnlyRun {
  RoutedPiece routed;
  Block block;
};
std::optional<OnlyRun> only_run(const std::vector<PeerPieces>& peers,
                                const std::vector<Transfer>& transfers);

/// Where the runs of a block lie in some memory, in bytes: the first, and from one to the next.
struct Place {
  int64_t first = 0;
  int64_t step = 0;
};

/// In what a rank keeps of a transfer: its destination.
Place place_in_destination(const Block& block, const Transfer& transfer);
/// In the wire bytes of a transfer's source, of which `skipped` elements are not there.
Place place_in_source(const Block& block, const Transfer& transfer, int64_t skipped = 0);

}  // namespace fakescore::detail
