#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace fakescore::fuzz {

/// A folder's files as one input of a fuzz target: for each, the length of its name (1 byte), the
/// name, the length of its content (4 bytes, little-endian), the content. What is cut off counts as
/// far as it goes.
using FolderFiles = std::vector<std::pair<std::string, std::string>>;

inline FolderFiles parse_folder_input(const std::string& input) {
  FolderFiles files;
  for (size_t at = 0; at < input.size();) {
    const size_t name_bytes = static_cast<uint8_t>(input[at++]);
    std::string name = input.substr(std::min(at, input.size()), name_bytes);
    at = std::min(at + name_bytes, input.size());
    uint32_t bytes = 0;
    if (at + sizeof(bytes) > input.size()) break;
    std::memcpy(&bytes, input.data() + at, sizeof(bytes));
    at += sizeof(bytes);
    files.emplace_back(std::move(name), input.substr(at, bytes));
    at += std::min<size_t>(bytes, input.size() - at);
  }
  return files;
}

inline std::string make_folder_input(const FolderFiles& files) {
  std::string input;
  for (const auto& [name, content] : files) {
    input += static_cast<char>(name.size());
    input += name.substr(0, 255);
    const auto bytes = static_cast<uint32_t>(content.size());
    input.append(reinterpret_cast<const char*>(&bytes), sizeof(bytes));
    input += content;
  }
  return input;
}

}  // namespace fakescore::fuzz
