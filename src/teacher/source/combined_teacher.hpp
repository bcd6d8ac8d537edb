#pragma once

#include <memory>
#include <vector>

#include "fakescore/teacher/teacher.hpp"

namespace fakescore::detail {

/// The tensors of all of them, in their order. Throws TeacherError naming a tensor that two have.
std::unique_ptr<Teacher> combine_teachers(std::vector<std::unique_ptr<Teacher>> teachers);

}  // namespace fakescore::detail
