#pragma once

#include <cstdint>

#include "fill/cut_routes.hpp"

namespace fakescore::detail {

/// Gives out the turns at reading tensors one after the other: neighbours in the file to one rank,
/// in stretches of `stretch` bytes, and of a large part each rank a share. Pure.
class ReadingTurns {
 public:
  explicit ReadingTurns(uint64_t stretch) : stretch_(stretch) {}

  /// Of a tensor of `whole` bytes, of which a rank keeps at most `part`. A part that cannot be read
  /// in shares is one rank's.
  ReadingTurn next(uint64_t whole, uint64_t part, bool has_shares) {
    if (bytes_ >= stretch_) {
      ++turn_;
      bytes_ = 0;
    }
    const uint64_t shares = has_shares ? part / stretch_ : 0;
    const ReadingTurn turn{turn_, shares > 1 ? static_cast<size_t>(shares) : 1};
    turn_ += turn.shares - 1;
    bytes_ += turn.shares > 1 ? stretch_ : whole;
    return turn;
  }

 private:
  uint64_t stretch_;
  size_t turn_ = 0;
  uint64_t bytes_ = 0;  ///< of this turn
};

}  // namespace fakescore::detail
