#include "teacher/formats/torch_file/torch_records.hpp"

#include <c10/util/Exception.h>
#include <caffe2/serialize/inline_container.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "teacher/file/file_text.hpp"
#include "teacher/file/teacher_error.hpp"
#include "teacher/formats/torch_file/zip_directory.hpp"

namespace fakescore::detail {
namespace {

constexpr size_t kLocalHeaderBytes = 30;
constexpr size_t kFlagsOffset = 6;
constexpr size_t kMethodOffset = 8;
constexpr uint16_t kEncrypted = 1;
constexpr const char* kBroken = "is a broken archive of torch.save";
constexpr const char* kUnpack =
    "unpack the archive and pack it with zip -0, or save it with torch.save";
constexpr const char* kRemedy = "save it again with torch.save, or fetch the file again";

/// Hands out bytes of memory; what lies outside reads as nothing, which LibTorch's reader refuses.
class MemoryAdapter : public caffe2::serialize::ReadAdapterInterface {
 public:
  explicit MemoryAdapter(std::span<const std::byte> bytes) : bytes_(bytes) {}
  size_t size() const override { return bytes_.size(); }
  size_t read(uint64_t position, void* buffer, size_t wanted, const char* /*what*/) const override {
    if (position >= bytes_.size()) return 0;
    const size_t length = std::min<size_t>(wanted, bytes_.size() - position);
    std::memcpy(buffer, bytes_.data() + position, length);
    return length;
  }

 private:
  std::span<const std::byte> bytes_;
};

/// LibTorch's text up to the end of its first sentence: what follows guesses at causes.
std::string first_sentence(const std::exception& error) {
  const auto* torch_error = dynamic_cast<const c10::Error*>(&error);
  const std::string text =
      torch_error != nullptr ? torch_error->what_without_backtrace() : error.what();
  return shown(text.substr(0, std::min(text.find(". "), text.find('\n'))));
}

/// What LibTorch's reader says; where it throws, a TeacherError with its reason.
template <typename Question>
auto ask(const std::filesystem::path& file, const std::string& tensor, const std::string& failure,
         const Question& question) {
  try {
    return question();
  } catch (const std::exception& error) {
    throw_teacher_error(file, tensor, failure + ": " + first_sentence(error), kRemedy);
  }
}

uint16_t number_at(std::span<const std::byte> bytes, size_t offset) {
  uint16_t value = 0;
  std::memcpy(&value, bytes.data() + offset, sizeof(value));
  return value;
}

/// Whether LibTorch's reader reads this record as soon as it is made; it does not look at case.
bool is_read_at_once(std::string_view name) {
  constexpr std::array<std::string_view, 2> kEnds{"/version", "/.data/serialization_id"};
  return std::any_of(kEnds.begin(), kEnds.end(), [&](std::string_view end) {
    return name.size() >= end.size() &&
           std::equal(
               end.begin(), end.end(), name.end() - static_cast<std::ptrdiff_t>(end.size()),
               [](char a, char b) { return a == (b >= 'A' && b <= 'Z' ? b - 'A' + 'a' : b); });
  });
}

/// It would inflate them, to any number of bytes.
void check_what_is_read_at_once(std::span<const std::byte> archive, ReadBudget& budget) {
  constexpr uint32_t kMaxBytes = 4096;
  const std::filesystem::path& file = budget.file();
  for (const ZipEntry& entry : read_zip_directory(archive, budget)) {
    const std::string record = "its record " + shown(entry.name);
    // The reader would look another record up: by what comes before the zero.
    if (entry.name.find('\0') != std::string_view::npos) {
      throw_teacher_error(file, "", record + " has a zero byte in its name: hostile", kRemedy);
    }
    if (!is_read_at_once(entry.name)) continue;
    if (entry.method != 0) {
      throw_teacher_error(file, "", record + " is compressed", kUnpack);
    }
    if (entry.bytes > kMaxBytes) {
      throw_teacher_error(
          file, "", record + " has more than " + std::to_string(kMaxBytes) + " bytes: hostile",
          kRemedy);
    }
  }
}

}  // namespace

bool is_zip_archive(std::span<const std::byte> bytes) {
  constexpr char kMagic[] = {'P', 'K', 3, 4};
  return bytes.size() >= sizeof(kMagic) && std::memcmp(bytes.data(), kMagic, sizeof(kMagic)) == 0;
}

TorchRecords::TorchRecords(std::span<const std::byte> archive, ReadBudget& budget)
    : archive_(archive), file_(budget.file()) {
  check_what_is_read_at_once(archive, budget);
  reader_ = ask(file_, "", "is not a whole archive of torch.save", [&] {
    return std::make_unique<caffe2::serialize::PyTorchStreamReader>(
        std::make_shared<MemoryAdapter>(archive));
  });
}

TorchRecords::~TorchRecords() = default;
TorchRecords::TorchRecords(TorchRecords&& other) noexcept = default;
TorchRecords& TorchRecords::operator=(TorchRecords&& other) noexcept = default;

bool TorchRecords::has(const std::string& name) const {
  return ask(file_, "", kBroken, [&] { return reader_->hasRecord(name); });
}

std::span<const std::byte> TorchRecords::get(const std::string& name,
                                             const std::string& tensor) const {
  const auto [header, begin, bytes] = ask(file_, tensor, "has no record " + shown(name), [&] {
    return std::array{reader_->getRecordHeaderOffset(name), reader_->getRecordOffset(name),
                      reader_->getRecordSize(name)};
  });
  const auto fits = [&](size_t offset, size_t length) {
    return offset <= archive_.size() && length <= archive_.size() - offset;
  };
  if (fits(header, kLocalHeaderBytes) &&
      (number_at(archive_, header + kMethodOffset) != 0 ||
       (number_at(archive_, header + kFlagsOffset) & kEncrypted) != 0)) {
    throw_teacher_error(file_, tensor, "its record " + shown(name) + " is compressed or encrypted",
                        kUnpack);
  }
  if (!fits(header, kLocalHeaderBytes) || !fits(begin, bytes)) {
    throw_teacher_error(file_, tensor,
                        "its record " + shown(name) + " (" + std::to_string(bytes) + " bytes at " +
                            std::to_string(begin) + ") lies outside the archive of " +
                            std::to_string(archive_.size()) + " bytes: truncated or hostile",
                        kRemedy);
  }
  return archive_.subspan(begin, bytes);
}

Digest TorchRecords::digest() const {
  const std::string layout = ask(file_, "", kBroken, [&] {
    std::string lines;
    for (const std::string& name : reader_->getAllRecords()) {
      lines += name + ' ' + std::to_string(reader_->getRecordHeaderOffset(name)) + ' ' +
               std::to_string(reader_->getRecordSize(name)) + '\n';
    }
    return lines;
  });
  DigestSequence digest;
  digest.add(digest_bytes(layout.data(), layout.size()));
  const auto pickle = get("data.pkl");
  digest.add(digest_bytes(pickle.data(), pickle.size()));
  return digest.value();
}

}  // namespace fakescore::detail
