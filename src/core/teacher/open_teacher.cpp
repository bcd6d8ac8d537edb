#include "core/teacher/open_teacher.hpp"

#include "core/teacher/dcp/open_distributed.hpp"
#include "core/teacher/safetensors_teacher.hpp"

namespace fakescore::detail {

std::unique_ptr<Teacher> open_teacher(const std::filesystem::path& path,
                                      const TeacherPathOptions& options) {
  if (is_distributed_checkpoint(path)) return open_distributed_checkpoint(path, options);
  return open_safetensors_teacher(path);
}

}  // namespace fakescore::detail
