#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "teacher/file/read_budget.hpp"

namespace fakescore::detail {

/// Whether a text of a file can be the name of a file beside it: of at most 255 bytes, as file
/// systems have it, without a separator and without a NUL, at which the system would cut it off, so
/// that one file had many names.
bool is_file_name(std::string_view text);

/// The files that an index names, each kept once and numbered as it first appears.
class FileNumbers {
 public:
  /// `name` is a file name. Charges what a new one takes.
  size_t number(std::string_view name, ReadBudget& budget);
  /// Their paths in a folder, in the order of their names.
  std::vector<std::filesystem::path> paths(const std::filesystem::path& folder) const;
  /// By number, where the file is among `paths`.
  std::vector<size_t> places() const;

 private:
  std::map<std::string, size_t, std::less<>> numbers_;
};

}  // namespace fakescore::detail
