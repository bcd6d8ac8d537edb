#include "teacher/file/file_text.hpp"

namespace fakescore::detail {

std::string shown(std::string_view text) {
  constexpr size_t kMaxShown = 200;
  constexpr size_t kLongestCharacter = 4;
  if (text.size() <= kMaxShown) return std::string(text);
  size_t end = kMaxShown;
  const auto continues = [&] { return (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80U; };
  while (continues() && end + kLongestCharacter > kMaxShown) --end;
  return std::string(text.substr(0, end));
}

}  // namespace fakescore::detail
