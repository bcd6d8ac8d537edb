#pragma once

#include <algorithm>
#include <array>
#include <cstdio>
#include <iterator>
#include <string>
#include <string_view>

#include "error/utf8.hpp"

namespace fakescore::detail {

/// Whether a character acts on what is around it, or hides, instead of being seen: controls, what
/// sets the direction of text, what ends a line, what has no width.
inline bool is_hidden(char32_t code) {
  struct Range {
    char32_t first, last;
  };
  constexpr Range kHidden[] = {{0x0, 0x1f},      {0x7f, 0x9f},     {0xad, 0xad},
                               {0x61c, 0x61c},   {0x180e, 0x180e}, {0x200b, 0x200b},
                               {0x200e, 0x200f}, {0x2028, 0x202e}, {0x2060, 0x206f},
                               {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe007f}};
  return std::any_of(std::begin(kHidden), std::end(kHidden),
                     [&](const Range& range) { return range.first <= code && code <= range.last; });
}

/// `text` in a form that any terminal, log and `const char*` takes as it is: hidden characters and
/// bytes that are no UTF-8 become \x1b, \u202e or \U000e0041; all else stays. Names of files and
/// tensors may hold any bytes, and a backslash of their own, so that this is for reading only. What
/// is printable stays as it is: a text may pass through here twice.
inline std::string printable(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const auto [code, bytes] = first_character(text);
    const size_t taken = std::max<size_t>(bytes, 1);
    if (bytes > 0 && !is_hidden(code)) {
      result += text.substr(0, taken);
    } else {
      const char* form = code < 0x80 ? "\\x%02x" : code <= 0xffff ? "\\u%04x" : "\\U%08x";
      const unsigned value = bytes > 0 ? code : static_cast<unsigned char>(text[0]);
      std::array<char, 16> escape{};
      std::snprintf(escape.data(), escape.size(), form, value);
      result += escape.data();
    }
    text.remove_prefix(taken);
  }
  return result;
}

}  // namespace fakescore::detail
