#include "teacher/formats/torch_file/zip_directory.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "teacher/file/teacher_error.hpp"

namespace fakescore::detail {
namespace {

using namespace std::string_view_literals;

constexpr auto kEndMagic = "PK\x05\x06"sv;
constexpr auto kZip64LocatorMagic = "PK\x06\x07"sv;
constexpr auto kZip64EndMagic = "PK\x06\x06"sv;
constexpr auto kEntryMagic = "PK\x01\x02"sv;
constexpr size_t kEndBytes = 22;
constexpr size_t kZip64LocatorBytes = 20;
constexpr size_t kZip64EndBytes = 56;
constexpr size_t kDirectoryEntryBytes = 46;
/// The end record is followed by a comment of at most 64 KiB.
constexpr size_t kSearchedBytes = size_t{1} << 17;

constexpr const char* kListsRecords = "lists more records than its directory describes";
/// An entry here, its places in the reader's tables, and its name in the digest of them all.
constexpr uint64_t kReadEntryBytes = 512;
constexpr uint64_t kReadEntrySteps = 256;

struct Directory {
  uint64_t entries = 0;
  uint64_t bytes = 0;
  uint64_t offset = 0;
};

class ZipReader {
 public:
  ZipReader(std::string_view archive, ReadBudget& budget) : archive_(archive), budget_(budget) {}

  std::vector<ZipEntry> read() const {
    const Directory directory = find_directory();
    if (directory.offset > archive_.size() ||
        directory.bytes > archive_.size() - directory.offset) {
      fail("its directory lies outside of it");
    }
    std::string_view rest = archive_.substr(directory.offset, directory.bytes);
    budget_.add_bytes(rest.size());
    // The reader copies the directory; sorted, it is searched by names.
    budget_.charge_memory(rest.size(), kListsRecords);
    std::vector<ZipEntry> entries;
    for (uint64_t i = 0; i < directory.entries; ++i) {
      if (!rest.starts_with(kEntryMagic) || rest.size() < kDirectoryEntryBytes) refuse_entry();
      const auto name_bytes = number<uint16_t>(rest, 28);
      const size_t bytes = kDirectoryEntryBytes + name_bytes + number<uint16_t>(rest, 30) +
                           number<uint16_t>(rest, 32);
      if (bytes > rest.size()) refuse_entry();
      budget_.charge_memory(kReadEntryBytes, kListsRecords);
      budget_.charge_work(kReadEntrySteps + bytes / 4, kListsRecords);
      entries.push_back({rest.substr(kDirectoryEntryBytes, name_bytes), number<uint16_t>(rest, 10),
                         number<uint32_t>(rest, 24)});
      rest.remove_prefix(bytes);
    }
    return entries;
  }

 private:
  Directory find_directory() const {
    const size_t end = find_end();
    if (end >= kZip64LocatorBytes + kZip64EndBytes) {
      const std::string_view locator = archive_.substr(end - kZip64LocatorBytes);
      if (locator.starts_with(kZip64LocatorMagic)) {
        const auto offset = number<uint64_t>(locator, 8);
        if (offset > archive_.size() - kZip64EndBytes) fail("its zip64 record lies outside of it");
        const std::string_view record = archive_.substr(offset);
        if (record.starts_with(kZip64EndMagic)) {
          return {number<uint64_t>(record, 32), number<uint64_t>(record, 40),
                  number<uint64_t>(record, 48)};
        }
      }
    }
    const std::string_view record = archive_.substr(end);
    return {number<uint16_t>(record, 10), number<uint32_t>(record, 12),
            number<uint32_t>(record, 16)};
  }

  size_t find_end() const {
    const size_t searched = std::min(archive_.size(), kSearchedBytes);
    const std::string_view tail = archive_.substr(archive_.size() - searched);
    const size_t found = tail.size() < kEndBytes ? std::string_view::npos
                                                 : tail.rfind(kEndMagic, tail.size() - kEndBytes);
    if (found == std::string_view::npos) fail("it has no end record: truncated");
    return archive_.size() - searched + found;
  }

  template <typename Number>
  static Number number(std::string_view bytes, size_t offset) {
    Number value = 0;
    std::memcpy(&value, bytes.data() + offset, sizeof(value));
    return value;
  }

  [[noreturn]] void refuse_entry() const { fail("its directory is broken"); }

  [[noreturn]] void fail(const std::string& message) const {
    throw_teacher_error(budget_.file(), "",
                        "is a zip archive, but not a whole one of torch.save: " + message,
                        "save it again with torch.save, or fetch the file again");
  }

  std::string_view archive_;
  ReadBudget& budget_;
};

}  // namespace

std::vector<ZipEntry> read_zip_directory(std::span<const std::byte> archive, ReadBudget& budget) {
  return ZipReader({reinterpret_cast<const char*>(archive.data()), archive.size()}, budget).read();
}

}  // namespace fakescore::detail
