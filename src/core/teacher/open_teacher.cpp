#include "core/teacher/open_teacher.hpp"

#include "core/teacher/checkpoint_folder.hpp"
#include "core/teacher/checkpoint_teacher.hpp"
#include "core/teacher/teacher_error.hpp"

namespace fakescore::detail {

std::unique_ptr<Teacher> open_teacher(const std::filesystem::path& path,
                                      const TeacherPathOptions& options) {
  const std::filesystem::path place = resolve_checkpoint_path(path, options);
  if (is_distributed_checkpoint(place)) {
    throw_teacher_error(
        place, "", "is a distributed checkpoint, which is not read yet",
        "convert it: python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE");
  }
  return open_checkpoint_files(find_checkpoint_files(place, options.variant), options.key);
}

}  // namespace fakescore::detail
