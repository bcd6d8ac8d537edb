#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fakescore/teacher/teacher_source.hpp"

namespace fakescore::detail {

/// A teacher of tensors in memory. Throws TeacherError for a name given twice and for a tensor
/// without values or on another device than the CPU.
std::unique_ptr<Teacher> make_memory_teacher(const std::vector<NamedTensor>& tensors);

}  // namespace fakescore::detail
