#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <vector>

namespace fakescore::detail {

/// One value of a store as a list to which every rank adds: a length, then as many bytes.
inline void append_to_list(c10d::Store& store, const std::string& key,
                           const std::vector<uint8_t>& bytes) {
  const auto length = static_cast<uint32_t>(bytes.size());
  std::vector<uint8_t> framed(sizeof length + bytes.size());
  std::memcpy(framed.data(), &length, sizeof length);
  if (length > 0) std::memcpy(framed.data() + sizeof length, bytes.data(), bytes.size());
  store.append(key, framed);
}

inline std::vector<std::vector<uint8_t>> read_list(c10d::Store& store, const std::string& key) {
  const std::vector<uint8_t> all = store.get(key);
  std::vector<std::vector<uint8_t>> entries;
  for (size_t begin = 0; begin < all.size();) {
    uint32_t length = 0;
    std::memcpy(&length, all.data() + begin, sizeof length);
    begin += sizeof length;
    const auto at = all.begin() + static_cast<std::ptrdiff_t>(begin);
    entries.emplace_back(at, at + length);
    begin += length;
  }
  return entries;
}

}  // namespace fakescore::detail
