#pragma once

#include <memory>
#include <string>

#include "fakescore/teacher/teacher_source.hpp"

namespace fakescore::detail {

/// What its owner knows a tensor by.
const std::string& stored_name(const TeacherTensor& tensor);

/// A teacher whose tensors have the names that `map` gives them; `what` names it in errors. Throws
/// TeacherError where two tensors get one name, where one gets an empty name, or where `map`
/// throws.
std::unique_ptr<Teacher> rename_teacher(std::unique_ptr<Teacher> teacher, const KeyMap& map,
                                        const std::string& what);

/// A teacher whose names have lost `prefix`. Throws TeacherError where none begins with it;
/// `description` names the teacher there.
std::unique_ptr<Teacher> strip_prefix(std::unique_ptr<Teacher> teacher, const std::string& prefix,
                                      const std::string& description);

}  // namespace fakescore::detail
