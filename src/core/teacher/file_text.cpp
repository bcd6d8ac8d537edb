#include "core/teacher/file_text.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace fakescore::detail {
namespace {

/// A character's first bytes, how many follow, and between what the second one lies: shorter forms
/// of the same character, surrogates and what lies beyond U+10FFFF are none (RFC 3629, table 3-7 of
/// Unicode).
struct Utf8Form {
  uint8_t first;
  uint8_t last;
  uint8_t following;
  uint8_t second_first;
  uint8_t second_last;
};
constexpr std::array<Utf8Form, 9> kUtf8Forms{{{0x00, 0x7f, 0, 0x80, 0xbf},
                                              {0xc2, 0xdf, 1, 0x80, 0xbf},
                                              {0xe0, 0xe0, 2, 0xa0, 0xbf},
                                              {0xe1, 0xec, 2, 0x80, 0xbf},
                                              {0xed, 0xed, 2, 0x80, 0x9f},
                                              {0xee, 0xef, 2, 0x80, 0xbf},
                                              {0xf0, 0xf0, 3, 0x90, 0xbf},
                                              {0xf1, 0xf3, 3, 0x80, 0xbf},
                                              {0xf4, 0xf4, 3, 0x80, 0x8f}}};

/// The bytes of the first character; 0 where they are none.
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t index) { return static_cast<uint8_t>(text[index]); };
  for (const Utf8Form& form : kUtf8Forms) {
    if (byte(0) < form.first || byte(0) > form.last) continue;
    if (text.size() <= form.following) return 0;
    for (size_t i = 1; i <= form.following; ++i) {
      const bool second = i == 1;
      if (byte(i) < (second ? form.second_first : 0x80)) return 0;
      if (byte(i) > (second ? form.second_last : 0xbf)) return 0;
    }
    return 1U + form.following;
  }
  return 0;
}

}  // namespace

std::string shown(std::string_view text) {
  constexpr size_t kMaxShown = 200;
  std::string result(text.substr(0, kMaxShown));
  for (char& letter : result) {
    if (letter < ' ' || letter > '~') letter = '?';
  }
  return result;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

}  // namespace fakescore::detail
