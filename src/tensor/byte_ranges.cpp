#include "tensor/byte_ranges.hpp"

#include <algorithm>
#include <utility>

namespace fakescore::detail {
namespace {

struct Dimension {
  int64_t size;
  int64_t stride;
};

/// Adds the ranges of dimensions [next, end), the widest stride first.
void add_ranges(const std::vector<Dimension>& dimensions, size_t next, size_t begin,
                size_t block_bytes, size_t element_bytes, std::vector<ByteRange>& ranges) {
  if (next == dimensions.size()) {
    if (!ranges.empty() && ranges.back().end == begin) {
      ranges.back().end = begin + block_bytes;
    } else {
      ranges.push_back({begin, begin + block_bytes});
    }
    return;
  }
  const Dimension& dimension = dimensions[next];
  for (int64_t i = 0; i < dimension.size; ++i) {
    add_ranges(dimensions, next + 1,
               begin + static_cast<size_t>(i * dimension.stride) * element_bytes, block_bytes,
               element_bytes, ranges);
  }
}

}  // namespace

std::vector<ByteRange> merge(std::vector<ByteRange> ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](const ByteRange& a, const ByteRange& b) { return a.begin < b.begin; });
  std::vector<ByteRange> merged;
  for (const ByteRange& range : ranges) {
    if (range.size() == 0) continue;
    if (!merged.empty() && range.begin <= merged.back().end) {
      merged.back().end = std::max(merged.back().end, range.end);
    } else {
      merged.push_back(range);
    }
  }
  return merged;
}

std::vector<ByteRange> occupied_bytes(const TensorSpec& spec) {
  if (element_count(spec) == 0) return {};
  std::vector<Dimension> dimensions;
  for (size_t i = 0; i < spec.sizes.size(); ++i) {
    // An expanded dimension (stride 0) visits the same bytes again.
    if (spec.sizes[i] > 1 && spec.strides[i] != 0) {
      dimensions.push_back({spec.sizes[i], spec.strides[i]});
    }
  }
  std::sort(dimensions.begin(), dimensions.end(),
            [](const Dimension& a, const Dimension& b) { return a.stride > b.stride; });
  int64_t block = 1;
  while (!dimensions.empty() && dimensions.back().stride == block) {
    block *= dimensions.back().size;
    dimensions.pop_back();
  }
  const size_t element_bytes = c10::elementSize(spec.dtype);
  std::vector<ByteRange> ranges;
  add_ranges(dimensions, 0, static_cast<size_t>(spec.storage_offset) * element_bytes,
             static_cast<size_t>(block) * element_bytes, element_bytes, ranges);
  return merge(std::move(ranges));
}

bool covers(const std::vector<ByteRange>& outer, const std::vector<ByteRange>& inner) {
  return std::all_of(inner.begin(), inner.end(), [&](const ByteRange& range) {
    const auto after =
        std::upper_bound(outer.begin(), outer.end(), range.begin,
                         [](size_t begin, const ByteRange& other) { return begin < other.begin; });
    return after != outer.begin() && range.end <= std::prev(after)->end;
  });
}

std::vector<std::vector<ByteRange>> occupied_bytes_by_group(const Manifest& manifest) {
  std::vector<std::vector<ByteRange>> groups(static_cast<size_t>(manifest.alias_groups()));
  for (const TensorSpec& spec : manifest.specs()) {
    auto& group = groups[static_cast<size_t>(spec.alias_group)];
    const auto ranges = occupied_bytes(spec);
    group.insert(group.end(), ranges.begin(), ranges.end());
  }
  for (auto& group : groups) group = merge(std::move(group));
  return groups;
}

}  // namespace fakescore::detail
