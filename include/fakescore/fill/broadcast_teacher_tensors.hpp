#pragma once

#include <vector>

#include "fakescore/comm/communicator.hpp"
#include "fakescore/export.hpp"
#include "fakescore/teacher/teacher_source.hpp"

namespace fakescore {

/// Collective. The root opens the teacher and tells every rank its names, shapes and dtypes.
FAKESCORE_API std::vector<TeacherTensor> broadcast_teacher_tensors(const TeacherSource& teacher,
                                                                   Communicator& communicator,
                                                                   int root = 0);

}  // namespace fakescore
