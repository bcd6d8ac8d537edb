#pragma once

#include <c10/core/ScalarType.h>

#include <cstddef>
#include <optional>
#include <vector>

#include "tensor/byte_ranges.hpp"
#include "transfer/rank_set.hpp"

namespace fakescore::detail {

/// Elements travel in `wire` and are stored as `stored`.
struct Cast {
  at::ScalarType wire;
  at::ScalarType stored;
};

/// Where a stretch of a transfer's bytes is stored, and on which ranks.
struct Landing {
  ByteRange stored;
  RankSet ranks = RankSet::all();
};

/// One storage to move: which of its bytes land where, one stretch after the other on the wire, and
/// whether they are cast on arrival. With a cast, landings are of whole elements.
struct TransferLayout {
  std::vector<Landing> landings;
  std::optional<Cast> cast = std::nullopt;
  /// Each rank keeps another part of it: nothing lands in place.
  bool is_cut = false;

  /// All ranges on every rank.
  static TransferLayout to_all(const std::vector<ByteRange>& ranges,
                               std::optional<Cast> cast = std::nullopt);
};

/// Bytes on the wire of so many stored ones.
size_t wire_size(size_t stored, const std::optional<Cast>& cast);

/// Bytes of a layout on the wire, without alignment gaps.
size_t wire_bytes(const TransferLayout& layout);

/// A stretch of one storage within a bucket.
struct Piece {
  size_t transfer = 0;      ///< index of the TransferLayout
  size_t stored_begin = 0;  ///< bytes into the storage
  size_t stored_bytes = 0;
  size_t wire_begin = 0;  ///< bytes into the transfer's wire form, all landings in a row
  size_t wire_bytes = 0;
  size_t bucket_offset = 0;  ///< where a packed bucket holds it
};

/// What one operation carries to some ranks: a stretch of one storage in place, or small pieces
/// packed together.
struct Bucket {
  std::vector<Piece> pieces;
  RankSet ranks = RankSet::all();  ///< on which its pieces land
  size_t bytes = 0;                ///< on the wire
  bool in_place = false;
};

/// Cuts storages into buckets of at most `bucket_bytes` on the wire, in the order given. Stretches
/// of at least kInPlaceBytes (or of a whole bucket) land in place; smaller ones, and what is cast
/// or cut, travel packed with others for the same ranks. Every byte of every landing is in exactly
/// one piece.
std::vector<Bucket> plan_buckets(const std::vector<TransferLayout>& transfers, size_t bucket_bytes);

/// Bytes of the largest bucket that needs memory of its own.
size_t largest_packed_bytes(const std::vector<Bucket>& buckets);

/// Used by the host pipeline.
inline constexpr size_t kBucketsInFlight = 4;
inline constexpr size_t kInPlaceBytes = size_t{128} << 10;
/// Pieces that are cast or cut begin at multiples of this in a packed bucket, so that elements are
/// aligned; others lie next to each other.
inline constexpr size_t kCastAlignment = 16;

}  // namespace fakescore::detail
