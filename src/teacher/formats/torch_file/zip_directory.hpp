#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "teacher/file/read_budget.hpp"

namespace fakescore::detail {

/// What a zip archive's central directory says of one entry.
struct ZipEntry {
  std::string_view name;  ///< in the archive's memory
  uint16_t method = 0;    ///< how it is compressed; 0 for not at all
  uint32_t bytes = 0;     ///< uncompressed; all bits set where it takes a zip64 field to say it
};

/// The central directory, found where LibTorch's reader (miniz) finds it: by the last end record,
/// or by the zip64 record that is named before it. Format: APPNOTE.TXT 6.3.10, 4.3.12 to 4.3.16.
/// `budget` gets its bytes and is charged for what LibTorch's reader makes of them as well. Throws
/// TeacherError naming the budget's file where there is none.
std::vector<ZipEntry> read_zip_directory(std::span<const std::byte> archive, ReadBudget& budget);

}  // namespace fakescore::detail
