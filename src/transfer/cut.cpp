#include "transfer/cut.hpp"

#include <algorithm>
#include <cstdint>
#include <vector>

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

void for_each_run(const Cut& cut, ByteRange stretch, const std::function<void(const Run&)>& use) {
  const Runs runs(cut.shard);
  const auto first = static_cast<int64_t>(stretch.begin / cut.element_bytes);
  const auto end = static_cast<int64_t>(stretch.end / cut.element_bytes);
  for (int64_t run = runs.first_after(first); run < runs.count(); ++run) {
    const int64_t begin = runs.begin(run);
    if (begin >= end) return;
    const int64_t from = std::max(begin, first);
    const int64_t to = std::min(begin + runs.length(), end);
    const auto kept = static_cast<size_t>(run * runs.length() + from - begin);
    use({static_cast<size_t>(from) * cut.element_bytes, cut.begin + kept * cut.element_bytes,
         static_cast<size_t>(to - from) * cut.element_bytes});
  }
}

}  // namespace fakescore::detail
