#pragma once

#include <memory>
#include <string>

#include "fakescore/teacher/teacher_source.hpp"
#include "teacher/source/checkpoint_folder.hpp"

namespace fakescore::detail {

/// A teacher of files, each of whichever format; `key` says where PyTorch files nest their state
/// dict. Throws TeacherError naming the file: where one cannot be opened, where it does not hold
/// what the index says, or where two hold one name.
std::unique_ptr<Teacher> open_checkpoint_files(const CheckpointFiles& found,
                                               const std::string& key);

}  // namespace fakescore::detail
