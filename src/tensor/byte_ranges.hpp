#pragma once

#include <cstddef>
#include <vector>

#include "fakescore/tensor/manifest.hpp"

namespace fakescore::detail {

/// Bytes [begin, end) of a storage.
struct ByteRange {
  size_t begin = 0;
  size_t end = 0;
  size_t size() const noexcept { return end - begin; }
  friend bool operator==(const ByteRange&, const ByteRange&) = default;
};

/// The bytes of its storage that a tensor's elements occupy: ascending, disjoint, merged. Gaps of a
/// strided view are left out, so that what lies in them is not touched.
std::vector<ByteRange> occupied_bytes(const TensorSpec& spec);

/// Sorts and merges ranges that touch or overlap.
std::vector<ByteRange> merge(std::vector<ByteRange> ranges);

/// Whether every byte of `inner` lies in `outer`; both as `merge` gives them.
bool covers(const std::vector<ByteRange>& outer, const std::vector<ByteRange>& inner);

/// Per alias group of the manifest, the bytes that its tensors occupy.
std::vector<std::vector<ByteRange>> occupied_bytes_by_group(const Manifest& manifest);

}  // namespace fakescore::detail
