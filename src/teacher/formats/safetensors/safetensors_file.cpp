#include "teacher/formats/safetensors/safetensors_file.hpp"

#include <cstdint>
#include <cstring>
#include <utility>

#include "teacher/file/teacher_error.hpp"
#include "teacher/formats/safetensors/safetensors_header.hpp"
#include "teacher/formats/safetensors/sharding_info.hpp"

namespace fakescore::detail {
namespace {

/// Of a file that is long enough to begin with it.
uint64_t length_of_header(std::span<const std::byte> file) {
  uint64_t length = 0;
  std::memcpy(&length, file.data(), kSafetensorsLengthBytes);
  return length;
}

/// A file of a header alone is one of tensors without elements, or one whose tensors are missing.
bool is_header_alone(std::span<const std::byte> file) {
  return begins_as_safetensors(file) &&
         file.size() == kSafetensorsLengthBytes + length_of_header(file);
}

SafetensorsHeader read_header(const MappedFile& file) {
  try {
    return parse_safetensors_header(file.bytes(), file.path());
  } catch (const TeacherError& error) {
    if (!is_header_alone(file.bytes())) throw;
    ErrorInfo info = error.info();
    info.message += "; the file ends with its header: the bytes of its tensors are missing";
    info.remedy = "fetch all of the file: what reads the headers of remote files makes such ones";
    throw_error(std::move(info));
  }
}

}  // namespace

bool begins_as_safetensors(std::span<const std::byte> file) {
  return file.size() > kSafetensorsLengthBytes &&
         file[kSafetensorsLengthBytes] == static_cast<std::byte>('{') &&
         length_of_header(file) <= kMaxSafetensorsHeaderBytes;
}

CheckpointFile open_safetensors_file(const std::shared_ptr<const MappedFile>& file,
                                     const std::string& key) {
  if (!key.empty()) {
    throw_teacher_error(file->path(), "",
                        "is a safetensors file, which has no keys: it does not have the key " + key,
                        "leave the key out");
  }
  SafetensorsHeader header = read_header(*file);
  refuse_shard(header, file->path());
  return {std::move(header.tensors), std::move(header.metadata),
          digest_bytes(file->bytes().data(), header.bytes)};
}

}  // namespace fakescore::detail
