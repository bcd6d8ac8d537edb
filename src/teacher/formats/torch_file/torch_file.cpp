#include "teacher/formats/torch_file/torch_file.hpp"

#include <algorithm>

#include "teacher/file/file_text.hpp"
#include "teacher/file/read_budget.hpp"
#include "teacher/file/teacher_error.hpp"
#include "teacher/formats/torch_file/state_dict.hpp"
#include "teacher/formats/torch_file/zip_directory.hpp"

namespace fakescore::detail {
namespace {

/// Says of a zip archive that torch.save did not write what it holds instead.
void refuse_foreign_archive(const MappedFile& file) {
  constexpr size_t kNamed = 5;
  std::string names;
  size_t files = 0;
  ReadBudget budget(file.path());
  for (const ZipEntry& entry : read_zip_directory(file.bytes(), budget)) {
    // A zero byte in a name is for the archive's reader to refuse.
    if (entry.name.ends_with("/data.pkl") || entry.name.find('\0') != entry.name.npos) return;
    if (entry.name.ends_with('/') || ++files > kNamed) continue;
    names += (files == 1 ? "" : ", ") + shown(entry.name);
  }
  if (files == 0) names = "no file";
  if (files > kNamed) names += " and " + std::to_string(files - kNamed) + " more";
  throw_teacher_error(file.path(), "",
                      "is a zip archive, but not one that torch.save wrote: it holds " + names,
                      "unpack it (unzip), and give the checkpoint that is in it");
}

CheckpointFile read_archive(const MappedFile& file, const std::string& key) {
  const TorchArchive archive(file.bytes(), file.path(), ForeignGlobals::kKeep);
  CheckpointFile opened;
  opened.header = archive.digest();
  opened.tensors = list_state_dict(archive, key);
  std::sort(opened.tensors.begin(), opened.tensors.end(), lies_before);
  return opened;
}

}  // namespace

CheckpointFile open_torch_file(const std::shared_ptr<const MappedFile>& file,
                               const std::string& key) {
  try {
    return read_archive(*file, key);
  } catch (const TeacherError&) {
    refuse_foreign_archive(*file);
    throw;
  }
}

}  // namespace fakescore::detail
