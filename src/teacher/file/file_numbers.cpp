#include "teacher/file/file_numbers.hpp"

namespace fakescore::detail {
namespace {

constexpr size_t kMaxFileNameBytes = 255;
constexpr std::string_view kNoFileNameBytes{"/\0", 2};
constexpr uint64_t kFileMemory = 480;
constexpr uint64_t kFileNameCopies = 4;

}  // namespace

bool is_file_name(std::string_view text) {
  return !text.empty() && text.size() <= kMaxFileNameBytes && text != "." && text != ".." &&
         text.find_first_of(kNoFileNameBytes) == std::string_view::npos;
}

size_t FileNumbers::number(std::string_view name, ReadBudget& budget) {
  const auto known = numbers_.find(name);
  if (known != numbers_.end()) return known->second;
  budget.charge_memory(kFileMemory + kFileNameCopies * name.size(),
                       "names more files than it has room for");
  return numbers_.emplace(name, numbers_.size()).first->second;
}

std::vector<std::filesystem::path> FileNumbers::paths(const std::filesystem::path& folder) const {
  std::vector<std::filesystem::path> paths;
  paths.reserve(numbers_.size());
  for (const auto& [name, number] : numbers_) paths.push_back(folder / name);
  return paths;
}

std::vector<size_t> FileNumbers::places() const {
  std::vector<size_t> places(numbers_.size());
  size_t place = 0;
  for (const auto& [name, number] : numbers_) places[number] = place++;
  return places;
}

}  // namespace fakescore::detail
