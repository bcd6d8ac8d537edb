#include "transfer/cut.hpp"

#include <algorithm>

#include "tensor/row_major.hpp"

namespace fakescore::detail {
namespace {

/// The runs of a box, by number: all are of one length.
class Runs {
 public:
  explicit Runs(const Shard& shard)
      : offsets_(shard.box.offsets),
        sizes_(shard.box.sizes),
        strides_(row_major_strides(shard.global_sizes).value()) {
    // From the last dimension on as long as the box has all of it, and one dimension more.
    while (outer_ > 0) {
      --outer_;
      length_ *= sizes_[outer_];
      if (sizes_[outer_] != shard.global_sizes[outer_]) break;
    }
    for (size_t i = 0; i < outer_; ++i) count_ *= sizes_[i];
    if (length_ == 0) count_ = 0;
  }

  int64_t count() const noexcept { return count_; }
  int64_t length() const noexcept { return length_; }

  /// So many runs, from one whose number it divides on, lie at equal distances.
  int64_t even() const { return outer_ > 0 ? sizes_[outer_ - 1] : 1; }
  int64_t distance() const { return outer_ > 0 ? strides_[outer_ - 1] : 0; }

  /// Where run number `run` begins among the elements of the whole tensor; ascending.
  int64_t begin(int64_t run) const {
    int64_t at = 0;
    for (size_t i = outer_; i < sizes_.size(); ++i) at += offsets_[i] * strides_[i];
    for (size_t i = outer_; i-- > 0;) {
      at += (offsets_[i] + run % sizes_[i]) * strides_[i];
      run /= sizes_[i];
    }
    return at;
  }

  /// The first run that ends after an element.
  int64_t first_after(int64_t element) const {
    int64_t low = 0;
    int64_t high = count_;
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      if (begin(middle) + length_ <= element) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }

 private:
  const std::vector<int64_t>& offsets_;
  const std::vector<int64_t>& sizes_;
  std::vector<int64_t> strides_;
  size_t outer_ = strides_.size();  ///< dimensions whose steps separate runs
  int64_t length_ = 1;
  int64_t count_ = 1;
};

}  // namespace

void for_each_block(const Shard& shard, int64_t first, int64_t end,
                    const std::function<void(const Block&)>& use) {
  const Runs runs(shard);
  int64_t run = runs.first_after(first);
  while (run < runs.count()) {
    const int64_t begin = runs.begin(run);
    if (begin >= end) return;
    if (begin < first || begin + runs.length() > end) {
      const int64_t from = std::max(begin, first);
      use({from, std::min(begin + runs.length(), end) - from, 0, 1});
      ++run;
      continue;
    }
    // As many as are whole before the end.
    int64_t count = runs.even() - run % runs.even();
    if (count > 1) count = std::min(count, (end - begin - runs.length()) / runs.distance() + 1);
    use({begin, runs.length(), runs.distance(), count});
    run += count;
  }
}

int64_t count_in(const Shard& shard, int64_t first, int64_t end) {
  const Runs runs(shard);
  const auto before = [&](int64_t element) {
    const int64_t run = runs.first_after(element);
    const int64_t whole = run * runs.length();
    return run < runs.count() ? whole + std::max<int64_t>(element - runs.begin(run), 0) : whole;
  };
  return before(end) - before(first);
}

int64_t index_in_box(const Shard& shard, int64_t element) {
  int64_t index = 0;
  int64_t stride = 1;
  for (size_t i = shard.global_sizes.size(); i-- > 0;) {
    index += (element % shard.global_sizes[i] - shard.box.offsets[i]) * stride;
    element /= shard.global_sizes[i];
    stride *= shard.box.sizes[i];
  }
  return index;
}

}  // namespace fakescore::detail
