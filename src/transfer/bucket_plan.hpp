#pragma once

#include <c10/core/ScalarType.h>

#include <cstddef>
#include <optional>
#include <vector>

#include "tensor/byte_ranges.hpp"

namespace fakescore::detail {

/// Elements travel in `wire` and are stored as `stored`.
struct Cast {
  at::ScalarType wire;
  at::ScalarType stored;
};

/// One storage to move: which stretches of its bytes travel, one after the other on the wire, and
/// whether they are cast on arrival. With a cast, stretches are of whole elements.
struct TransferLayout {
  std::vector<ByteRange> ranges;
  std::optional<Cast> cast = std::nullopt;
  /// Each rank keeps another part of it: nothing lands in place.
  bool is_cut = false;
  int root = 0;  ///< the rank that has it
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
  size_t wire_begin = 0;  ///< bytes into the transfer's wire form, all stretches in a row
  size_t wire_bytes = 0;
  size_t bucket_offset = 0;  ///< where a packed bucket holds it
};

/// What one operation carries from one rank: a stretch of one storage in place, or small pieces
/// packed together.
struct Bucket {
  std::vector<Piece> pieces;
  int root = 0;      ///< the rank that has it
  size_t bytes = 0;  ///< on the wire
  bool in_place = false;
};

/// Cuts storages into buckets of at most `bucket_bytes` on the wire, in the order given. Stretches
/// of at least kInPlaceBytes (or of a whole bucket) land in place; smaller ones, and what is cast
/// or cut, travel packed with others of the same root. Every byte of every stretch is in exactly
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
