#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fakescore/tensor/shard.hpp"

namespace fakescore::detail {

/// Whether it has the tensor's dimensions and lies inside of it.
bool lies_within(const Box& box, const std::vector<int64_t>& sizes);

bool has_elements(const Box& box);

/// What is wrong with boxes that should cover a tensor exactly, each element once; empty where they
/// do. The boxes have elements, lie within the tensor and differ from each other. Takes time that
/// grows with n log n of their number n.
std::string describe_cover_fault(const std::vector<int64_t>& sizes, const std::vector<Box>& boxes);

}  // namespace fakescore::detail
