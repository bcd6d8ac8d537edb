#include "core/teacher/open_teacher.hpp"

#include "core/teacher/checkpoint_folder.hpp"
#include "core/teacher/checkpoint_teacher.hpp"
#include "core/teacher/dcp/open_distributed.hpp"

namespace fakescore::detail {

std::unique_ptr<Teacher> open_teacher(const std::filesystem::path& path,
                                      const TeacherPathOptions& options) {
  const std::filesystem::path place = resolve_checkpoint_path(path, options);
  if (is_distributed_checkpoint(place)) return open_distributed_checkpoint(place, options.key);
  return open_checkpoint_files(find_checkpoint_files(place, options.variant), options.key);
}

}  // namespace fakescore::detail
