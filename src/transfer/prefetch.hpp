#pragma once

#include <cstddef>
#include <vector>

#include "transfer/transfer.hpp"

namespace fakescore::detail {

/// Where ranks send in turn, has the kernel read what this one sends from files, some way ahead of
/// it: while others have their turns its disk is not idle.
class Prefetch {
 public:
  Prefetch(const std::vector<Transfer>& transfers, const std::vector<Bucket>& buckets, int rank);

  /// The stream has come to bucket number `bucket`.
  void advance(size_t bucket);

 private:
  void ask_for(const Bucket& bucket) const;

  const std::vector<Transfer>& transfers_;
  const std::vector<Bucket>& buckets_;
  int rank_;
  size_t next_ = 0;         ///< bucket to ask for
  size_t ahead_bytes_ = 0;  ///< of this rank, asked for and not sent
};

}  // namespace fakescore::detail
