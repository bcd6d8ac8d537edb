#include <cstring>
#include <vector>

#include "fuzz/fuzz_target.hpp"

namespace fakescore::fuzz {
namespace {

constexpr size_t kLocalBytes = 30;
constexpr size_t kCentralBytes = 46;
constexpr size_t kEndBytes = 22;

struct ArchiveRecord {
  std::string name;
  std::string content;
};

template <typename Number>
Number number_at(const std::string& bytes, size_t offset) {
  Number value = 0;
  if (offset + sizeof(value) <= bytes.size()) {
    std::memcpy(&value, bytes.data() + offset, sizeof(value));
  }
  return value;
}

template <typename Number>
void put(std::string& bytes, size_t offset, Number value) {
  std::memcpy(bytes.data() + offset, &value, sizeof(value));
}

/// By the central directory; what is broken is left out.
std::vector<ArchiveRecord> records_of(const std::string& archive) {
  std::vector<ArchiveRecord> records;
  const size_t end = archive.rfind("PK\x05\x06");
  if (end == std::string::npos) return records;
  size_t at = number_at<uint32_t>(archive, end + 16);
  while (at + kCentralBytes <= archive.size() && archive.compare(at, 4, "PK\x01\x02") == 0) {
    const size_t name_bytes = number_at<uint16_t>(archive, at + 28);
    const size_t local = number_at<uint32_t>(archive, at + 42);
    const size_t content = local + kLocalBytes + number_at<uint16_t>(archive, local + 26) +
                           number_at<uint16_t>(archive, local + 28);
    if (content <= archive.size()) {
      records.push_back({archive.substr(at + kCentralBytes, name_bytes),
                         archive.substr(content, number_at<uint32_t>(archive, at + 20))});
    }
    at += kCentralBytes + name_bytes + number_at<uint16_t>(archive, at + 30) +
          number_at<uint16_t>(archive, at + 32);
  }
  return records;
}

uint32_t checksum(const std::string& bytes) {
  uint32_t sum = ~0U;
  for (const char byte : bytes) {
    sum ^= static_cast<uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) sum = (sum >> 1) ^ (0xedb88320U & (0U - (sum & 1)));
  }
  return ~sum;
}

std::string write_archive(const std::vector<ArchiveRecord>& records) {
  std::string archive;
  std::string directory;
  for (const auto& [name, content] : records) {
    const auto bytes = static_cast<uint32_t>(content.size());
    std::string local(kLocalBytes, '\0');
    std::memcpy(local.data(), "PK\x03\x04", 4);
    put<uint32_t>(local, 14, checksum(content));
    put(local, 18, bytes);
    put(local, 22, bytes);
    put(local, 26, static_cast<uint16_t>(name.size()));
    std::string central(kCentralBytes, '\0');
    std::memcpy(central.data(), "PK\x01\x02", 4);
    std::memcpy(central.data() + 6, local.data() + 4, 24);
    put(central, 42, static_cast<uint32_t>(archive.size()));
    directory += central + name;
    archive += local + name + content;
  }
  std::string end(kEndBytes, '\0');
  std::memcpy(end.data(), "PK\x05\x06", 4);
  put(end, 8, static_cast<uint16_t>(records.size()));
  put(end, 10, static_cast<uint16_t>(records.size()));
  put(end, 12, static_cast<uint32_t>(directory.size()));
  put(end, 16, static_cast<uint32_t>(archive.size()));
  return archive + directory + end;
}

void change_records(std::vector<ArchiveRecord>& records, Random& random, size_t max) {
  ArchiveRecord& any = records[random() % records.size()];
  switch (random() % 8) {
    case 0:
      any.name = mutate_bytes(any.name, 64);
      return;
    case 1:
      any.content = mutate_bytes(any.content, max / 4);
      return;
    case 2:
      records.push_back(any);
      return;
    case 3:
      any.content = records[random() % records.size()].content;
      return;
    default:
      for (ArchiveRecord& record : records) {
        if (!record.name.ends_with("data.pkl")) continue;
        record.content = mutate_pickle(record.content, random, max / 2);
      }
  }
}

}  // namespace

std::string mutate_archive(const std::string& archive, Random& random, size_t max) {
  std::vector<ArchiveRecord> records = records_of(archive);
  if (records.empty() || random() % 16 == 0) return mutate_bytes(archive, max);
  change_records(records, random, max);
  std::string changed = write_archive(records);
  return changed.size() <= max ? changed : mutate_bytes(archive, max);
}

}  // namespace fakescore::fuzz
