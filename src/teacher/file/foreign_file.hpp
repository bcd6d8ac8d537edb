#pragma once

#include <string_view>

#include "teacher/file/mapped_file.hpp"

namespace fakescore::detail {

/// Whether a file begins as safetensors files do: the length of a header, and a header.
bool begins_as_safetensors(std::string_view bytes);

/// Looks at how a file begins, and throws TeacherError saying what it is and what to do where that
/// is what is often found in the place of any file: a pointer of Git LFS, a web page, nothing.
void refuse_stand_in(const MappedFile& file);

/// The same, also for archives, compressed files, and formats of weights that are not read.
void refuse_foreign_file(const MappedFile& file);

/// The same for a text, such as a server's message, that is no checkpoint either.
void refuse_text(const MappedFile& file);

/// The same for a zip archive that torch.save did not write.
void refuse_foreign_archive(const MappedFile& file);

}  // namespace fakescore::detail
