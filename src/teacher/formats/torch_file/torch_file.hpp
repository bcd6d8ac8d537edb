#pragma once

#include <memory>
#include <string>

#include "teacher/file/mapped_file.hpp"
#include "teacher/formats/checkpoint_file.hpp"
#include "teacher/formats/torch_file/torch_records.hpp"

namespace fakescore::detail {

/// What torch.save or torch.jit.save wrote, which is_zip_archive() recognises; of it, the state
/// dict at `key`. Throws TeacherError naming the file.
CheckpointFile open_torch_file(const std::shared_ptr<const MappedFile>& file,
                               const std::string& key);

}  // namespace fakescore::detail
