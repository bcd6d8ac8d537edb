#include "teacher/source/open_teacher.hpp"

#include "teacher/file/teacher_error.hpp"
#include "teacher/source/checkpoint_folder.hpp"
#include "teacher/source/checkpoint_teacher.hpp"
#include "teacher/source/open_distributed.hpp"

namespace fakescore::detail {
namespace {

std::unique_ptr<Teacher> open_at(const std::filesystem::path& place,
                                 const TeacherPathOptions& options) {
  if (is_distributed_checkpoint(place)) {
    if (!options.variant.empty()) {
      throw_teacher_error(place, "",
                          "is a distributed checkpoint: it has no variant " + options.variant,
                          "leave the variant out");
    }
    return open_distributed_checkpoint(place, options.key);
  }
  return open_checkpoint_files(find_checkpoint_files(place, options.variant), options.key);
}

}  // namespace

std::unique_ptr<Teacher> open_teacher(const std::filesystem::path& path,
                                      const TeacherPathOptions& options) {
  const std::filesystem::path place = resolve_checkpoint_path(path, options);
  auto teacher = open_at(place, options);
  if (teacher->tensors().empty()) {
    throw_teacher_error(teacher->choice().taken, "", "holds no tensor",
                        "give the file that holds the weights; a rank that saves what another rank "
                        "gathered leaves such files");
  }
  return teacher;
}

}  // namespace fakescore::detail
