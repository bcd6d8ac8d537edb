#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

namespace fakescore::detail {

/// "a, b LAST c".
inline std::string join(const std::vector<std::string>& words, const std::string& last) {
  std::string text;
  for (size_t i = 0; i < words.size(); ++i) {
    text += (i == 0 ? "" : i + 1 == words.size() ? last : ", ") + words[i];
  }
  return text;
}

/// "a, b and 3 more".
inline std::string join_some(const std::vector<std::string>& names, size_t most = 10) {
  const auto shown = static_cast<std::ptrdiff_t>(std::min(names.size(), most));
  std::string text = join({names.begin(), names.begin() + shown}, ", ");
  if (names.size() > most) text += " and " + std::to_string(names.size() - most) + " more";
  return text;
}

}  // namespace fakescore::detail
