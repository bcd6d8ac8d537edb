#include "teacher/formats/file_format.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "error/join.hpp"
#include "teacher/file/foreign_file.hpp"
#include "teacher/file/teacher_error.hpp"
#include "teacher/formats/safetensors/safetensors_file.hpp"
#include "teacher/formats/torch_file/torch_file.hpp"

namespace fakescore::detail {
namespace {

constexpr std::array kFileFormats{
    FileFormat{"a safetensors file", kSafetensorsSuffixes, /*owns_suffixes=*/true,
               begins_as_safetensors, open_safetensors_file},
    FileFormat{"one of torch.save", kTorchSuffixes, /*owns_suffixes=*/false, is_zip_archive,
               open_torch_file},
};

static_assert(std::equal(kFileFormats.begin(), kFileFormats.end(), kFormatSuffixes.begin(),
                         kFormatSuffixes.end(),
                         [](const FileFormat& format, Suffixes suffixes) {
                           return format.suffixes.data() == suffixes.data();
                         }),
              "weight_suffixes.hpp has other formats");

/// The format that owns the suffix of a name; null for none.
const FileFormat* owner_of_suffix(std::string_view name) {
  const auto* const found =
      std::find_if(kFileFormats.begin(), kFileFormats.end(), [&](const FileFormat& format) {
        return format.owns_suffixes && ends_with_any(name, format.suffixes);
      });
  return found == kFileFormats.end() ? nullptr : found;
}

/// "neither a safetensors file nor one of torch.save".
std::string none_of_the_formats() {
  std::vector<std::string> names;
  for (const FileFormat& format : kFileFormats) names.emplace_back(format.name);
  return "neither " + join(names, " nor ");
}

}  // namespace

std::span<const FileFormat> file_formats() { return kFileFormats; }

CheckpointFile open_checkpoint_file(const std::shared_ptr<const MappedFile>& file,
                                    const std::string& key) {
  for (const FileFormat& format : file_formats()) {
    if (format.recognises(file->bytes())) return format.open(file, key);
  }
  refuse_foreign_file(*file);
  refuse_text(*file, none_of_the_formats());
  // Its reader says what is wrong with it.
  const FileFormat* meant = owner_of_suffix(file->path().filename().string());
  if (meant != nullptr) return meant->open(file, key);
  throw_teacher_error(file->path(), "", "is " + none_of_the_formats(),
                      "give a checkpoint of one of these formats");
}

bool has_own_suffix(std::string_view name) { return owner_of_suffix(name) != nullptr; }

std::string describe_suffixes() {
  std::vector<std::string> suffixes;
  for (const FileFormat& format : kFileFormats) {
    suffixes.insert(suffixes.end(), format.suffixes.begin(), format.suffixes.end());
  }
  return join(suffixes, " or ");
}

}  // namespace fakescore::detail
