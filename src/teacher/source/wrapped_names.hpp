#pragma once

#include <memory>

#include "fakescore/teacher/teacher.hpp"

namespace fakescore::detail {

/// As TeacherSource::unwrap_names describes it.
std::unique_ptr<Teacher> unwrap_names(std::unique_ptr<Teacher> teacher);

}  // namespace fakescore::detail
