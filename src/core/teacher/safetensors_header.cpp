#include "core/teacher/safetensors_header.hpp"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "core/teacher/teacher_error.hpp"

namespace fakescore::detail {
namespace {

using nlohmann::json;

constexpr size_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
constexpr size_t kMaxShownName = 200;
constexpr const char* kMetadataKey = "__metadata__";

uint64_t header_length(std::span<const std::byte> file, const std::filesystem::path& path) {
  if (file.size() < kLengthBytes) {
    throw_teacher_error(path, "",
                        "is truncated: " + std::to_string(file.size()) +
                            " bytes, too short for a safetensors header");
  }
  uint64_t length = 0;  // little-endian, as every machine LibTorch runs on
  std::memcpy(&length, file.data(), kLengthBytes);
  if (length > kMaxHeaderBytes || length > file.size() - kLengthBytes) {
    throw_teacher_error(path, "",
                        "header length " + std::to_string(length) + " does not fit: the file has " +
                            std::to_string(file.size()) + " bytes and a header at most " +
                            std::to_string(kMaxHeaderBytes));
  }
  return length;
}

/// A JSON parser keeps the last of two equal keys; a header that holds one name twice is refused.
json parse_json(std::span<const std::byte> text, const std::filesystem::path& path) {
  std::unordered_set<std::string> names;
  std::string duplicate;
  const auto begin = reinterpret_cast<const char*>(text.data());
  const json::parser_callback_t callback = [&](int depth, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::key && depth == 1 && duplicate.empty() &&
        !names.insert(value.get<std::string>()).second) {
      duplicate = value.get<std::string>();
    }
    return true;
  };
  json header;
  try {
    header = json::parse(begin, begin + text.size(), callback);
  } catch (const json::exception& error) {
    throw_teacher_error(path, "", std::string("header is not JSON: ") + error.what());
  }
  if (!header.is_object()) throw_teacher_error(path, "", "header is not a JSON object");
  if (!duplicate.empty()) throw_teacher_error(path, duplicate, "is in the header twice");
  return header;
}

bool is_count(const json& value) { return value.is_number_unsigned(); }

/// A list of counts in words. Only such lists are ever printed: dumping whatever a hostile header
/// holds would recurse as deep as it is nested.
std::string describe_counts(const json& counts) {
  constexpr size_t kShown = 16;
  std::string text = "[";
  for (size_t i = 0; i < std::min(counts.size(), kShown); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(counts[i].get<uint64_t>());
  }
  return text + (counts.size() > kShown ? ", ...]" : "]");
}

std::vector<int64_t> parse_shape(const json& value, const std::string& name,
                                 const std::filesystem::path& path) {
  if (!value.is_array() || !std::all_of(value.begin(), value.end(), is_count)) {
    throw_teacher_error(path, name, "shape is not a list of sizes");
  }
  std::vector<int64_t> sizes;
  for (const json& size : value) {
    if (size.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
      throw_teacher_error(path, name, "shape overflows: " + describe_counts(value));
    }
    sizes.push_back(size.get<int64_t>());
  }
  return sizes;
}

uint64_t shape_bytes(const SafetensorsEntry& entry, const std::filesystem::path& path) {
  uint64_t bytes = c10::elementSize(entry.dtype);
  for (const int64_t size : entry.sizes) {
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(size), &bytes)) {
      throw_teacher_error(path, entry.name, "shape overflows");
    }
  }
  return bytes;
}

std::map<std::string, std::string> parse_metadata(const json& value,
                                                  const std::filesystem::path& path) {
  const auto is_text = [](const json& text) { return text.is_string(); };
  if (!value.is_object() || !std::all_of(value.begin(), value.end(), is_text)) {
    throw_teacher_error(path, "", std::string(kMetadataKey) + " does not map texts to texts");
  }
  return value.get<std::map<std::string, std::string>>();
}

SafetensorsEntry parse_entry(const std::string& name, const json& value, size_t data_begin,
                             size_t file_size, const std::filesystem::path& path) {
  if (!value.is_object() || !value.contains("dtype") || !value.contains("shape") ||
      !value.contains("data_offsets") || !value["dtype"].is_string()) {
    throw_teacher_error(path, name, "header entry lacks dtype, shape or data_offsets");
  }
  const auto dtype_name = value["dtype"].get<std::string>();
  const auto dtype = safetensors_dtype(dtype_name);
  if (!dtype) {
    throw_teacher_error(path, name, "unknown dtype " + dtype_name.substr(0, kMaxShownName),
                        "save it in a dtype that LibTorch has");
  }
  const json& offsets = value["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !is_count(offsets[0]) ||
      !is_count(offsets[1])) {
    throw_teacher_error(path, name, "data_offsets are not two offsets");
  }
  const auto begin = offsets[0].get<uint64_t>();
  const auto end = offsets[1].get<uint64_t>();
  const uint64_t data_bytes = file_size - data_begin;
  if (begin > end || end > data_bytes) {
    throw_teacher_error(path, name,
                        "data_offsets " + describe_counts(offsets) + " lie outside the file's " +
                            std::to_string(data_bytes) + " data bytes: truncated or hostile");
  }
  SafetensorsEntry entry{name, *dtype, parse_shape(value["shape"], name, path), data_begin + begin,
                         data_begin + end};
  if (shape_bytes(entry, path) != end - begin) {
    throw_teacher_error(path, name,
                        "shape " + describe_counts(value["shape"]) + " of " + dtype_name +
                            " needs " + std::to_string(shape_bytes(entry, path)) +
                            " bytes, data_offsets " + describe_counts(offsets) + " give " +
                            std::to_string(end - begin));
  }
  return entry;
}

void check_coverage(const std::vector<SafetensorsEntry>& entries, size_t data_begin,
                    size_t file_size, const std::filesystem::path& path) {
  size_t expected = data_begin;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.begin < expected) {
      throw_teacher_error(path, entry.name, "overlaps the tensor before it in the file");
    }
    if (entry.begin > expected) {
      throw_teacher_error(path, entry.name, "leaves a hole after the tensor before it");
    }
    expected = entry.end;
  }
  if (expected != file_size) {
    throw_teacher_error(
        path, "", std::to_string(file_size - expected) + " bytes at the end belong to no tensor");
  }
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file,
                                           const std::filesystem::path& path) {
  const uint64_t length = header_length(file, path);
  const size_t data_begin = kLengthBytes + length;
  const json content = parse_json(file.subspan(kLengthBytes, length), path);
  SafetensorsHeader header;
  header.bytes = data_begin;
  for (const auto& [name, value] : content.items()) {
    if (name == kMetadataKey) {
      header.metadata = parse_metadata(value, path);
    } else {
      header.entries.push_back(parse_entry(name, value, data_begin, file.size(), path));
    }
  }
  std::sort(header.entries.begin(), header.entries.end(), [](const auto& a, const auto& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  check_coverage(header.entries, data_begin, file.size(), path);
  return header;
}

}  // namespace fakescore::detail
