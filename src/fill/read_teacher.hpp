#pragma once

#include "fakescore/teacher/teacher.hpp"

namespace fakescore::detail {

/// A tensor of the teacher, on the CPU or on `device`: a teacher may lie on another GPU than what
/// it fills, or on one while that is on the CPU.
inline at::Tensor read_teacher(Teacher& teacher, size_t index, at::Device device) {
  const at::Tensor tensor = teacher.read(index);
  return tensor.is_cpu() || tensor.device() == device ? tensor : tensor.to(device);
}

}  // namespace fakescore::detail
