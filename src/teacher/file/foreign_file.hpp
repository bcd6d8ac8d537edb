#pragma once

#include <string>

#include "teacher/file/mapped_file.hpp"

namespace fakescore::detail {

/// Looks at how a file begins, and throws TeacherError saying what it is and what to do where that
/// is what is often found in the place of any file: a pointer of Git LFS, a web page, nothing.
void refuse_stand_in(const MappedFile& file);

/// The same, also for archives, compressed files, and formats of weights that are not read.
void refuse_foreign_file(const MappedFile& file);

/// The same for a text, such as a server's message: "is text, NONE OF FORMATS".
void refuse_text(const MappedFile& file, const std::string& none_of_formats);

}  // namespace fakescore::detail
