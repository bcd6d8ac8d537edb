#include "core/teacher/file_text.hpp"

#include <nlohmann/json.hpp>

namespace fakescore::detail {

std::string shown(std::string_view text) {
  constexpr size_t kMaxShown = 200;
  std::string result(text.substr(0, kMaxShown));
  for (char& letter : result) {
    if (letter < ' ' || letter > '~') letter = '?';
  }
  return result;
}

bool is_utf8(const std::string& text) {
  try {
    nlohmann::json(text).dump();
    return true;
  } catch (const nlohmann::json::exception&) {
    return false;
  }
}

}  // namespace fakescore::detail
