#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>

namespace fakescore::launcher {

/// "17 B", "3.2 MB": decimal units, as file sizes and links are given.
inline std::string format_bytes(uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  if (bytes < 1000) return fmt::format("{} B", bytes);
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1000 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

}  // namespace fakescore::launcher
