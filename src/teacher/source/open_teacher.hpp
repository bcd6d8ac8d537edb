#pragma once

#include <filesystem>
#include <memory>

#include "fakescore/teacher/teacher_source.hpp"

namespace fakescore::detail {

/// Opens the checkpoint at `path`, whatever its format. Throws TeacherError naming the file.
std::unique_ptr<Teacher> open_teacher(const std::filesystem::path& path,
                                      const TeacherPathOptions& options);

}  // namespace fakescore::detail
