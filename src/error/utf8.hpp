#pragma once

#include <cstddef>
#include <iterator>
#include <string_view>

namespace fakescore::detail {

/// The first character of a text: `bytes` is 0 where the text does not begin with valid UTF-8.
struct Utf8Character {
  char32_t code = 0;
  size_t bytes = 0;
};

/// Reads the first character of `text`, which must not be empty.
inline Utf8Character first_character(std::string_view text) {
  struct Form {
    unsigned mask, lead;
    char32_t smallest;  ///< below it, a shorter form must be used
  };
  constexpr Form kForms[] = {
      {0x80, 0x00, 0x0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  size_t bytes = 0;
  for (size_t i = 0; i < std::size(kForms); ++i) {
    if ((byte(0) & kForms[i].mask) == kForms[i].lead) bytes = i + 1;
  }
  if (bytes == 0 || bytes > text.size()) return {};
  const Form& form = kForms[bytes - 1];
  char32_t code = byte(0) & ~form.mask;
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0U) != 0x80U) return {};
    code = (code << 6) | (byte(i) & 0x3fU);
  }
  const bool is_surrogate = code >= 0xd800 && code <= 0xdfff;
  if (code < form.smallest || code > 0x10ffff || is_surrogate) return {};
  return {code, bytes};
}

inline bool is_valid_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t bytes = first_character(text).bytes;
    if (bytes == 0) return false;
    text.remove_prefix(bytes);
  }
  return true;
}

}  // namespace fakescore::detail
