#pragma once

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

namespace fakescore::detail {

/// Ranks of a job: all of them, or some. Cheap to copy.
class RankSet {
 public:
  static RankSet all() { return {}; }
  /// In any order.
  static RankSet of(std::vector<int> ranks) {
    std::sort(ranks.begin(), ranks.end());
    RankSet set;
    set.some_ = std::make_shared<const std::vector<int>>(std::move(ranks));
    return set;
  }

  bool is_all() const noexcept { return !some_; }
  bool contains(int rank) const {
    return !some_ || std::binary_search(some_->begin(), some_->end(), rank);
  }
  friend bool operator==(const RankSet& a, const RankSet& b) {
    return a.some_ == b.some_ || (a.some_ && b.some_ && *a.some_ == *b.some_);
  }

 private:
  std::shared_ptr<const std::vector<int>> some_;  ///< sorted; null for all
};

}  // namespace fakescore::detail
