#include "teacher/file/foreign_file.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>

#include "teacher/file/file_text.hpp"
#include "teacher/file/teacher_error.hpp"

namespace fakescore::detail {
namespace {

using namespace std::string_view_literals;

/// Nothing beyond is looked at.
constexpr size_t kLookedAt = 4096;

struct Foreign {
  std::string what;
  std::string remedy;
};

struct Magic {
  size_t offset;
  std::string_view bytes;
  const char* what;
  const char* remedy;
};

constexpr const char* kConvert =
    "give the safetensors or PyTorch weights that it was made from, or convert it";
constexpr const char* kUnpackIt = "unpack it, and give the checkpoint that is in it";
constexpr const char* kSaveAgain =
    "save it again with torch 1.6 or later: torch.save(torch.load(path, map_location='cpu'), path)";
constexpr const char* kFetchAgain = "fetch the file again, or save it again";

constexpr std::array kMagics{
    Magic{0, "\x1f\x8b"sv, "is compressed with gzip",
          "unpack it (tar -xzf for a .tar.gz, else gunzip), and give the checkpoint that is in it"},
    Magic{0, "BZh"sv, "is compressed with bzip2", kUnpackIt},
    Magic{0,
          "\xfd"
          "7zXZ\0"sv,
          "is compressed with xz", kUnpackIt},
    Magic{0, "\x28\xb5\x2f\xfd"sv, "is compressed with zstd", kUnpackIt},
    Magic{0, "\x04\x22\x4d\x18"sv, "is compressed with lz4", kUnpackIt},
    Magic{0, "7z\xbc\xaf\x27\x1c"sv, "is a 7z archive", kUnpackIt},
    Magic{0, "Rar!\x1a\x07"sv, "is a RAR archive", kUnpackIt},
    Magic{0, "PK\x05\x06"sv, "is an empty zip archive", kFetchAgain},
    Magic{0, "GGUF"sv, "is a GGUF file of llama.cpp", kConvert},
    Magic{0, "\x89HDF\r\n\x1a\n"sv, "is an HDF5 file, such as Keras writes", kConvert},
    Magic{0, "\x93NUMPY"sv, "is one array of NumPy",
          "give a checkpoint with names: torch.save({name: tensor}, path)"},
};

std::optional<Foreign> recognise_pointer(std::string_view text) {
  constexpr auto kVersion = "version https://git-lfs.github.com/spec/"sv;
  if (text.starts_with(kVersion)) {
    std::string what = "is a Git LFS pointer, not the file that it stands for";
    const size_t size = text.find("\nsize ");
    if (size != std::string_view::npos) {
      const size_t digits = size + 6;
      what += " (" + shown(text.substr(digits, text.find('\n', digits) - digits)) + " bytes)";
    }
    return Foreign{what, "run \"git lfs pull\" in its repository, or download the file itself"};
  }
  if (text.starts_with("/annex/objects/")) {
    return Foreign{"is a git-annex pointer, not the file that it stands for",
                   "run \"git annex get\" in its repository"};
  }
  return std::nullopt;
}

bool begins_with_letters(std::string_view text, std::string_view letters) {
  return text.size() >= letters.size() &&
         std::equal(letters.begin(), letters.end(), text.begin(), [](char a, char b) {
           return a == static_cast<char>(std::tolower(static_cast<unsigned char>(b)));
         });
}

std::string_view without_leading_space(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  return text;
}

std::optional<Foreign> recognise_page(std::string_view text) {
  text = without_leading_space(text);
  constexpr const char* kRemedy =
      "download the file itself: on Hugging Face the address has /resolve/ and not /blob/, and may "
      "need a login";
  if (begins_with_letters(text, "<!doctype html") || begins_with_letters(text, "<html")) {
    return Foreign{"is an HTML page, such as a server sends in place of a file", kRemedy};
  }
  if (text.starts_with("<?xml")) {
    return Foreign{"is XML, such as a server's error: \"" + shown(text.substr(0, 120)) + "\"",
                   kRemedy};
  }
  return std::nullopt;
}

/// torch.save wrote tar archives of these before 0.1.10.
std::optional<Foreign> recognise_tar(std::string_view text) {
  constexpr size_t kMagicOffset = 257;
  constexpr size_t kNameBytes = 100;
  constexpr std::array kOfTorch{"sys_info"sv, "pickle"sv, "storages"sv, "tensors"sv};
  if (text.size() < kMagicOffset || !text.substr(kMagicOffset).starts_with("ustar")) {
    return std::nullopt;
  }
  std::string_view first = text.substr(0, kNameBytes);
  first = first.substr(0, first.find('\0'));
  if (std::find(kOfTorch.begin(), kOfTorch.end(), first) != kOfTorch.end()) {
    return Foreign{"is a tar archive, as torch.save wrote them before 0.1.10", kSaveAgain};
  }
  return Foreign{"is a tar archive, which begins with \"" + shown(first) + "\"",
                 "unpack it (tar -xf), and give the checkpoint that is in it"};
}

/// A pickle of protocol 2 to 5, and of these what torch.save wrote before its zip archives: they
/// begin with the number 0x1950a86a20f9469cfc6c.
std::optional<Foreign> recognise_pickle(std::string_view text) {
  constexpr auto kLegacyNumber = "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"sv;
  constexpr size_t kHeaderBytes = 2;
  constexpr char kFrame = '\x95';  // before its values, protocols 4 and 5 say how long they are
  constexpr size_t kFrameBytes = 9;
  if (text.size() <= kHeaderBytes || text[0] != '\x80' || text[1] < 2 || text[1] > 5) {
    return std::nullopt;
  }
  text.remove_prefix(kHeaderBytes);
  if (text[0] == kFrame) text.remove_prefix(std::min(kFrameBytes, text.size()));
  if (text.starts_with(kLegacyNumber)) {
    return Foreign{"is in the format of torch.save before 1.6, which is not read", kSaveAgain};
  }
  return Foreign{"is a pickle, but not one that torch.save wrote",
                 "save the tensors: torch.save(state_dict, path)"};
}

/// A ModelProto: the IR version, then who made it.
std::optional<Foreign> recognise_onnx(std::string_view text) {
  constexpr char kIrVersion = 0x08;
  constexpr char kNewest = 32;
  constexpr char kProducer = 0x12;
  constexpr size_t kProducerBegin = 4;
  if (text.size() <= kProducerBegin || text[0] != kIrVersion || text[1] <= 0 || text[1] > kNewest ||
      text[2] != kProducer) {
    return std::nullopt;
  }
  const std::string_view name =
      text.substr(kProducerBegin, static_cast<unsigned char>(text[kProducerBegin - 1]));
  const bool is_name = !name.empty() && std::all_of(name.begin(), name.end(), [](char letter) {
    return letter > ' ' && letter <= '~';
  });
  if (!is_name) return std::nullopt;
  return Foreign{"is an ONNX model, made by \"" + shown(name) + "\"", kConvert};
}

/// What is found in the place of any kind of file.
std::optional<Foreign> recognise_stand_in(std::string_view text) {
  if (text.empty()) return Foreign{"is empty", kFetchAgain};
  if (text.find_first_not_of('\0') == std::string_view::npos) {
    return Foreign{"begins with zeros: its download or copy did not end", kFetchAgain};
  }
  if (auto found = recognise_pointer(text)) return found;
  return recognise_page(text);
}

std::optional<Foreign> recognise_format(std::string_view text) {
  for (const Magic& magic : kMagics) {
    if (text.substr(std::min(magic.offset, text.size())).starts_with(magic.bytes)) {
      return Foreign{magic.what, magic.remedy};
    }
  }
  if (auto found = recognise_tar(text)) return found;
  if (auto found = recognise_pickle(text)) return found;
  return recognise_onnx(text);
}

std::string_view beginning(const MappedFile& file) { return file.text().substr(0, kLookedAt); }

/// Whether they begin with ASCII and go on without control characters, in whatever language.
bool is_text(std::string_view bytes) {
  constexpr size_t kAscii = 8;
  const auto is_ascii = [](char letter) { return static_cast<unsigned char>(letter) < 0x7f; };
  const std::string_view begin = bytes.substr(0, kAscii);
  if (begin.size() < kAscii || !std::all_of(begin.begin(), begin.end(), is_ascii)) return false;
  return std::all_of(bytes.begin(), bytes.end(), [](char letter) {
    return static_cast<unsigned char>(letter) >= ' ' || letter == '\n' || letter == '\r' ||
           letter == '\t';
  });
}

}  // namespace

void refuse_stand_in(const MappedFile& file) {
  const auto found = recognise_stand_in(beginning(file));
  if (found) throw_teacher_error(file.path(), "", found->what, found->remedy);
}

void refuse_foreign_file(const MappedFile& file) {
  refuse_stand_in(file);
  const auto found = recognise_format(beginning(file));
  if (found) throw_teacher_error(file.path(), "", found->what, found->remedy);
}

void refuse_text(const MappedFile& file, const std::string& none_of_formats) {
  constexpr size_t kShown = 120;
  const std::string_view text = beginning(file).substr(0, kShown);
  if (!is_text(text)) return;
  throw_teacher_error(file.path(), "", "is text, " + none_of_formats + ": \"" + shown(text) + "\"",
                      "fetch the file itself; a server may have sent a message in its place");
}

}  // namespace fakescore::detail
