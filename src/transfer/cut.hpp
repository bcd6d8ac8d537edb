#pragma once

#include <cstddef>
#include <functional>

#include "fakescore/tensor/shard.hpp"
#include "tensor/byte_ranges.hpp"

namespace fakescore::detail {

/// What this rank keeps of a whole tensor that travels: its box, whose elements lie in row-major
/// order from one byte of the destination on.
struct Cut {
  Shard shard;
  size_t element_bytes = 0;  ///< as stored
  size_t begin = 0;          ///< in the destination
};

/// Neighbouring elements of a box, in bytes as stored.
struct Run {
  size_t in_whole = 0;        ///< where they begin in the whole tensor
  size_t in_destination = 0;  ///< and where they are kept
  size_t bytes = 0;
};

/// Calls `use` with what a box has of bytes `stretch` of the whole tensor, in ascending runs.
void for_each_run(const Cut& cut, ByteRange stretch, const std::function<void(const Run&)>& use);

}  // namespace fakescore::detail
