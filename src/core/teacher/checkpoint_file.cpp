#include "core/teacher/checkpoint_file.hpp"

#include <string_view>

#include "core/teacher/teacher_error.hpp"
#include "core/teacher/torch_file/torch_records.hpp"

namespace fakescore::detail {
namespace {

using namespace std::string_view_literals;

constexpr const char* kSaveAgain =
    "save it again with torch 1.6 or later: torch.save(torch.load(path, map_location='cpu'), path)";
/// The number 0x1950a86a20f9469cfc6c, which is torch.save's first value, as a pickle has it.
constexpr auto kLegacyNumber = "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"sv;
constexpr size_t kPickleHeaderBytes = 2;
/// Before its values, a pickle of protocol 4 or 5 says how long they are.
constexpr char kFrame = '\x95';
constexpr size_t kFrameBytes = 9;
constexpr auto kTarMagic = "ustar"sv;
constexpr size_t kTarMagicOffset = 257;
constexpr size_t kSafetensorsHeaderOffset = 8;

bool has_at(std::string_view text, size_t offset, std::string_view magic) {
  return text.size() >= offset + magic.size() && text.substr(offset, magic.size()) == magic;
}

bool is_pickle(std::string_view text) {
  return text.size() > kPickleHeaderBytes && text[0] == '\x80' && text[1] >= 2 && text[1] <= 5;
}

bool is_legacy_file(std::string_view text) {
  if (!is_pickle(text)) return false;
  const size_t frame = text[kPickleHeaderBytes] == kFrame ? kFrameBytes : 0;
  return has_at(text, kPickleHeaderBytes + frame, kLegacyNumber);
}

/// What torch.save wrote before its zip archives, and what only looks like a checkpoint.
void refuse_other_formats(std::string_view text, const std::filesystem::path& path) {
  if (is_legacy_file(text)) {
    throw_teacher_error(path, "", "is in the format of torch.save before 1.6, which is not read",
                        kSaveAgain);
  }
  if (has_at(text, kTarMagicOffset, kTarMagic)) {
    throw_teacher_error(path, "", "is a tar archive, as torch.save wrote them before 0.1.10",
                        kSaveAgain);
  }
  if (path.extension() == ".safetensors") return;
  if (is_pickle(text)) {
    throw_teacher_error(path, "", "is a pickle, but none of torch.save",
                        "save the tensors: torch.save(state_dict, path)");
  }
  if (!has_at(text, kSafetensorsHeaderOffset, "{")) {
    throw_teacher_error(path, "", "is neither a safetensors file nor one of torch.save",
                        "give a checkpoint of one of these formats");
  }
}

}  // namespace

CheckpointFile open_checkpoint_file(const std::shared_ptr<const MappedFile>& file,
                                    const std::string& key) {
  if (is_zip_archive({file->data(), file->size()})) return open_torch_file(file, key);
  refuse_other_formats({reinterpret_cast<const char*>(file->data()), file->size()}, file->path());
  if (!key.empty()) {
    throw_teacher_error(file->path(), "",
                        "is a safetensors file, which has no keys: it does not have the key " + key,
                        "leave the key out");
  }
  return open_safetensors_file(file);
}

}  // namespace fakescore::detail
