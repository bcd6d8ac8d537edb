#include "core/teacher/dcp/shard_boxes.hpp"

#include <algorithm>
#include <map>

namespace fakescore::detail {
namespace {

// A box has two corners to the power of the dimensions that it is cut in; meshes have a handful.
constexpr size_t kMaxCutDimensions = 4;

using Corner = std::vector<int64_t>;

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
/// coordinates are upper ends. Those that add up to nothing are left out.
void add_corners(const Box& box, const std::vector<size_t>& dims, int64_t sign,
                 std::map<Corner, int64_t>& corners) {
  Corner corner(dims.size());
  for (size_t which = 0; which < size_t{1} << dims.size(); ++which) {
    int64_t corner_sign = sign;
    for (size_t i = 0; i < dims.size(); ++i) {
      const bool upper = ((which >> i) & 1) != 0;
      corner[i] = box.offsets[dims[i]] + (upper ? box.sizes[dims[i]] : 0);
      if (upper) corner_sign = -corner_sign;
    }
    const auto place = corners.try_emplace(corner, 0).first;
    place->second += corner_sign;
    if (place->second == 0) corners.erase(place);
  }
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
  std::map<Corner, int64_t> corners;
  if (has_elements(whole)) add_corners(whole, dims, -1, corners);
  for (const Box& box : boxes) add_corners(box, dims, 1, corners);
  if (corners.empty()) return "";
  return surplus(sizes, boxes) < 0 ? "is not whole: its chunks leave elements out"
                                   : "has chunks that overlap";
}

}  // namespace fakescore::detail
