#include "transfer/bucket_plan.hpp"

#include <algorithm>
#include <utility>

#include "tensor/align_up.hpp"

namespace fakescore::detail {
namespace {

constexpr Cast kNoCast{at::kByte, at::kByte};

class BucketPlanner {
 public:
  explicit BucketPlanner(size_t bucket_bytes)
      : bucket_bytes_(std::max(bucket_bytes / kCastAlignment, size_t{1}) * kCastAlignment) {}

  void add(size_t transfer, const TransferLayout& layout) {
    size_t wire_begin = 0;
    if (packed_.root != layout.root) flush();
    root_ = layout.root;
    for (const ByteRange& stored : layout.ranges) {
      if (layout.cast || layout.is_cut) {
        add_in_steps(transfer, stored, layout.cast.value_or(kNoCast), wire_begin);
      } else if (stored.size() >= std::min(kInPlaceBytes, bucket_bytes_)) {
        add_in_place(transfer, stored, wire_begin);
      } else {
        pack({transfer, stored.begin, stored.size(), wire_begin, stored.size(), 0}, 1);
      }
      wire_begin += wire_size(stored.size(), layout.cast);
    }
  }

  std::vector<Bucket> finish() {
    flush();
    return std::move(buckets_);
  }

 private:
  void add_in_place(size_t transfer, const ByteRange& stored, size_t wire_begin) {
    // What is packed leaves first, so that buckets keep the order in which the root reads.
    flush();
    for (size_t offset = 0; offset < stored.size(); offset += bucket_bytes_) {
      const size_t bytes = std::min(bucket_bytes_, stored.size() - offset);
      buckets_.push_back({{{transfer, stored.begin + offset, bytes, wire_begin + offset, bytes, 0}},
                          root_,
                          bytes,
                          true});
    }
  }

  /// Of whole elements: buckets are multiples of kCastAlignment, which any element divides.
  void add_in_steps(size_t transfer, const ByteRange& stored, const Cast& cast, size_t wire_begin) {
    const size_t wire_element = c10::elementSize(cast.wire);
    const size_t stored_element = c10::elementSize(cast.stored);
    const size_t elements = stored.size() / stored_element;
    const size_t step = std::max(bucket_bytes_ / wire_element, size_t{1});
    for (size_t first = 0; first < elements; first += step) {
      const size_t count = std::min(step, elements - first);
      pack({transfer, stored.begin + first * stored_element, count * stored_element,
            wire_begin + first * wire_element, count * wire_element, 0},
           kCastAlignment);
    }
  }

  void pack(Piece piece, size_t alignment) {
    const bool fits = align_up(packed_.bytes, alignment) + piece.wire_bytes <= bucket_bytes_;
    if (!fits) flush();
    packed_.root = root_;
    piece.bucket_offset = align_up(packed_.bytes, alignment);
    packed_.bytes = piece.bucket_offset + piece.wire_bytes;
    packed_.pieces.push_back(piece);
  }

  void flush() {
    if (!packed_.pieces.empty()) buckets_.push_back(std::move(packed_));
    packed_ = {};
  }

  size_t bucket_bytes_;
  int root_ = 0;
  Bucket packed_;
  std::vector<Bucket> buckets_;
};

}  // namespace

size_t wire_size(size_t stored, const std::optional<Cast>& cast) {
  if (!cast) return stored;
  return stored / c10::elementSize(cast->stored) * c10::elementSize(cast->wire);
}

size_t wire_bytes(const TransferLayout& layout) {
  size_t bytes = 0;
  for (const ByteRange& range : layout.ranges) bytes += range.size();
  return wire_size(bytes, layout.cast);
}

std::vector<Bucket> plan_buckets(const std::vector<TransferLayout>& transfers,
                                 size_t bucket_bytes) {
  BucketPlanner planner(bucket_bytes);
  for (size_t i = 0; i < transfers.size(); ++i) planner.add(i, transfers[i]);
  return planner.finish();
}

size_t largest_packed_bytes(const std::vector<Bucket>& buckets) {
  size_t largest = 0;
  for (const Bucket& bucket : buckets) {
    if (!bucket.in_place) largest = std::max(largest, bucket.bytes);
  }
  return largest;
}

}  // namespace fakescore::detail
