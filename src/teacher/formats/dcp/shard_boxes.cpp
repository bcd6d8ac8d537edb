#include "teacher/formats/dcp/shard_boxes.hpp"

#include <algorithm>
#include <array>

namespace fakescore::detail {
namespace {

// A box has two corners to the power of the dimensions that it is cut in; meshes have a handful.
constexpr size_t kMaxCutDimensions = 4;

/// A corner's coordinates along the dimensions that are cut, and how often it counts.
struct Corner {
  std::array<int64_t, kMaxCutDimensions> place{};
  int64_t count = 0;
};

std::vector<size_t> find_cut_dimensions(const std::vector<int64_t>& sizes,
                                        const std::vector<Box>& boxes) {
  std::vector<size_t> cut;
  for (size_t dim = 0; dim < sizes.size(); ++dim) {
    const auto is_cut = [&](const Box& box) { return box.sizes[dim] != sizes[dim]; };
    if (std::any_of(boxes.begin(), boxes.end(), is_cut)) cut.push_back(dim);
  }
  return cut;
}

/// Adds `sign` times the box's corners, each of them negative where an odd number of its
/// coordinates are upper ends.
void add_corners(const Box& box, const std::vector<size_t>& dims, int64_t sign,
                 std::vector<Corner>& corners) {
  for (size_t which = 0; which < size_t{1} << dims.size(); ++which) {
    Corner corner{{}, sign};
    for (size_t i = 0; i < dims.size(); ++i) {
      const bool upper = ((which >> i) & 1) != 0;
      corner.place[i] = box.offsets[dims[i]] + (upper ? box.sizes[dims[i]] : 0);
      if (upper) corner.count = -corner.count;
    }
    corners.push_back(corner);
  }
}

/// Whether the counts of every place add up to nothing.
bool cancel_out(std::vector<Corner>& corners) {
  std::sort(corners.begin(), corners.end(),
            [](const Corner& a, const Corner& b) { return a.place < b.place; });
  for (size_t i = 0; i < corners.size();) {
    const auto& place = corners[i].place;
    int64_t sum = 0;
    for (; i < corners.size() && corners[i].place == place; ++i) sum += corners[i].count;
    if (sum != 0) return false;
  }
  return true;
}

/// Elements of the boxes less those of the tensor, in rows of the dimensions that are cut.
/// Computed in long double: only its sign is shown, and only where the corners already differ.
long double surplus(const std::vector<int64_t>& sizes, const std::vector<Box>& boxes) {
  const auto volume = [](const std::vector<int64_t>& lengths) {
    long double product = 1;
    for (const int64_t length : lengths) product *= static_cast<long double>(length);
    return product;
  };
  long double sum = -volume(sizes);
  for (const Box& box : boxes) sum += volume(box.sizes);
  return sum;
}

}  // namespace

bool lies_within(const Box& box, const std::vector<int64_t>& sizes) {
  if (box.offsets.size() != sizes.size() || box.sizes.size() != sizes.size()) return false;
  for (size_t dim = 0; dim < sizes.size(); ++dim) {
    if (box.offsets[dim] < 0 || box.sizes[dim] < 0 || box.offsets[dim] > sizes[dim] ||
        box.sizes[dim] > sizes[dim] - box.offsets[dim]) {
      return false;
    }
  }
  return true;
}

bool has_elements(const Box& box) {
  return std::find(box.sizes.begin(), box.sizes.end(), 0) == box.sizes.end();
}

// A function that is 1 in a box and 0 elsewhere is told by its derivative along every dimension:
// the box's corners with their signs. So the boxes cover the tensor, each element once, if and only
// if their corners add up to the tensor's.
std::string describe_cover_fault(const std::vector<int64_t>& sizes, const std::vector<Box>& boxes) {
  const std::vector<size_t> dims = find_cut_dimensions(sizes, boxes);
  if (dims.size() > kMaxCutDimensions) {
    return "is cut along " + std::to_string(dims.size()) + " dimensions, but at most " +
           std::to_string(kMaxCutDimensions) + " can be read";
  }
  const Box whole{std::vector<int64_t>(sizes.size(), 0), sizes};
  std::vector<Corner> corners;
  corners.reserve((boxes.size() + 1) << dims.size());
  if (has_elements(whole)) add_corners(whole, dims, -1, corners);
  for (const Box& box : boxes) add_corners(box, dims, 1, corners);
  if (cancel_out(corners)) return "";
  return surplus(sizes, boxes) < 0 ? "is not whole: its chunks leave elements out"
                                   : "has chunks that overlap";
}

}  // namespace fakescore::detail
