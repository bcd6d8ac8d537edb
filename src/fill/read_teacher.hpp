#pragma once

#include "fakescore/teacher/teacher.hpp"
#include "fakescore/tensor/manifest.hpp"

namespace fakescore::detail {

/// A tensor of the teacher in the shape of what it fills, or the part of it that a teacher in
/// shards has here, on the CPU or on `device`: a teacher may lie on another GPU than what it fills,
/// or on one while that is on the CPU.
inline at::Tensor read_teacher(Teacher& teacher, size_t index, const TensorSpec& spec,
                               at::Device device) {
  at::Tensor tensor = teacher.read(index);
  if (!teacher.tensors()[index].shard && tensor.sizes() != spec.sizes) {
    tensor = tensor.reshape(spec.sizes);
  }
  return tensor.is_cpu() || tensor.device() == device ? tensor : tensor.to(device);
}

}  // namespace fakescore::detail
