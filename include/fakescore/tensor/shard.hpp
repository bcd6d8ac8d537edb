#pragma once

#include <cstdint>
#include <vector>

namespace fakescore {

/// A box of a tensor's elements: per dimension, where it begins and how long it is.
struct Box {
  std::vector<int64_t> offsets;
  std::vector<int64_t> sizes;
  friend auto operator<=>(const Box&, const Box&) = default;
};

/// What one rank holds of a tensor that is spread over ranks.
struct Shard {
  std::vector<int64_t> global_sizes;  ///< of the whole tensor
  Box box;                            ///< within it; its sizes are those of the rank's own tensor
  /// The tensor's sizes before it was flattened, in row-major order, and cut: FSDP1 does that.
  /// global_sizes is then their product alone. Empty of a tensor that is not flattened.
  std::vector<int64_t> flattened_from = {};
  friend bool operator==(const Shard&, const Shard&) = default;
};

}  // namespace fakescore
