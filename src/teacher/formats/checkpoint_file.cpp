#include "teacher/formats/checkpoint_file.hpp"

#include <cstring>
#include <string_view>

#include "teacher/file/foreign_file.hpp"
#include "teacher/file/teacher_error.hpp"
#include "teacher/formats/torch_file/torch_records.hpp"

namespace fakescore::detail {
namespace {

void refuse_other_formats(const MappedFile& file) {
  refuse_foreign_file(file);
  refuse_text(file);
  if (file.path().extension() == ".safetensors") return;  // its reader says what is wrong
  throw_teacher_error(file.path(), "", "is neither a safetensors file nor one of torch.save",
                      "give a checkpoint of one of these formats");
}

/// Whether a file that begins with a header ends with it.
bool ends_with_its_header(std::string_view bytes) {
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof(length));
  return bytes.size() == sizeof(length) + length;
}

/// A file of a header alone is one of tensors without elements, or one whose tensors are missing.
CheckpointFile open_headed_file(const std::shared_ptr<const MappedFile>& file,
                                std::string_view bytes) {
  try {
    return open_safetensors_file(file);
  } catch (const TeacherError& error) {
    if (!begins_as_safetensors(bytes) || !ends_with_its_header(bytes)) throw;
    ErrorInfo info = error.info();
    info.message += "; the file ends with its header: the bytes of its tensors are missing";
    info.remedy = "fetch all of the file: what reads the headers of remote files makes such ones";
    throw_error(std::move(info));
  }
}

CheckpointFile open_archive(const std::shared_ptr<const MappedFile>& file, const std::string& key) {
  try {
    return open_torch_file(file, key);
  } catch (const TeacherError&) {
    refuse_foreign_archive(*file);
    throw;
  }
}

}  // namespace

CheckpointFile open_checkpoint_file(const std::shared_ptr<const MappedFile>& file,
                                    const std::string& key) {
  if (is_zip_archive(file->bytes())) return open_archive(file, key);
  const std::string_view bytes = file->text();
  if (!begins_as_safetensors(bytes)) refuse_other_formats(*file);
  if (!key.empty()) {
    throw_teacher_error(file->path(), "",
                        "is a safetensors file, which has no keys: it does not have the key " + key,
                        "leave the key out");
  }
  return open_headed_file(file, bytes);
}

}  // namespace fakescore::detail
