#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "report.hpp"

namespace fakescore::launcher {

inline constexpr size_t kKeysShown = 12;

/// What the reports of `run` and `plan` have in common.
void print_subject(const char* what, const RunDescription& run);
/// Which file was read, and what else its folder holds that could have been meant; nothing for a
/// teacher in memory.
void print_choice(const TeacherChoice& choice, size_t most, const char* hint);
std::string cast_text(const CastKey& key);
nlohmann::ordered_json cast_json(const std::vector<CastKey>& keys);
/// What `text` says of each item.
template <typename Item, typename Text>
std::vector<std::string> texts(const std::vector<Item>& items, const Text& text) {
  std::vector<std::string> lines;
  for (const Item& item : items) lines.push_back(text(item));
  return lines;
}
/// How many there are, and up to `most` of them; `hint` says where to find the rest.
void print_keys(const char* title, const std::vector<std::string>& keys, size_t most,
                const char* hint);

}  // namespace fakescore::launcher
