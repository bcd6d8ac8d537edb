#pragma once

#include "options.hpp"

namespace fakescore::launcher {

/// Prints the tensors of a checkpoint. Throws TeacherError.
void inspect(const TeacherOptions& options);

}  // namespace fakescore::launcher
