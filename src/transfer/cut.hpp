#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "fakescore/tensor/shard.hpp"

namespace fakescore::detail {

/// A box of a whole tensor, between this rank and another one, or from its source to its own
/// destination.
struct Route {
  int rank = 0;
  Box box;
  /// So many rounds after its first one the box is passed on: by a rank in whose destination it is
  /// by then, from there and in its dtype.
  int rounds_later = 0;
  friend bool operator==(const Route&, const Route&) = default;
};

/// A tensor of which ranks hold parts, and which way these go.
struct Cut {
  Shard own;                 ///< what this rank keeps: row-major, in the destination
  size_t begin = 0;          ///< its first byte there
  size_t element_bytes = 0;  ///< of the destination
  /// Whether some of a part can be read from the teacher without all of the tensor.
  bool has_shares = false;
  std::vector<Box> reads{};       ///< what this rank brings from files to its place before
  std::optional<Box> held{};      ///< what the source has, in row-major order; all if nullopt
  std::vector<Route> sends{};     ///< ascending ranks; this one for what it keeps of its source
  std::vector<Route> receives{};  ///< ascending ranks, disjoint boxes
};

/// `count` runs of `length` neighbouring elements, which begin at `begin` and every `stride`
/// elements after it.
struct Block {
  int64_t begin = 0;
  int64_t length = 0;
  int64_t stride = 0;
  int64_t count = 1;
};

/// Calls `use` with the elements of a box that are among [first, end) of the whole tensor, in
/// ascending order. Numbers are those of the whole tensor's elements, in row-major order.
void for_each_block(const Shard& shard, int64_t first, int64_t end,
                    const std::function<void(const Block&)>& use);

/// How many elements of a box are among [first, end) of the whole tensor.
int64_t count_in(const Shard& shard, int64_t first, int64_t end);

/// The place, among the elements of a box in row-major order, of one of the whole tensor's that is
/// in it.
int64_t index_in_box(const Shard& shard, int64_t element);

}  // namespace fakescore::detail
