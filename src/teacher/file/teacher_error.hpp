#pragma once

#include <filesystem>
#include <string>

#include "fakescore/error.hpp"
#include "teacher/file/file_text.hpp"

namespace fakescore::detail {

/// Throws a TeacherError about a file, and about one tensor of it where `tensor` is not empty.
[[noreturn]] inline void throw_teacher_error(
    const std::filesystem::path& file, const std::string& tensor, const std::string& message,
    const std::string& remedy = "check that the file is whole and is what was meant") {
  std::string subject = file.string();
  if (!tensor.empty()) subject += ", tensor " + shown(tensor);  // may be hostile
  throw TeacherError(subject, message, remedy);
}

}  // namespace fakescore::detail
