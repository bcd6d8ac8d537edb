// What reaches a terminal of a text that anybody may have made.
#include "error/printable.hpp"

#include <gtest/gtest.h>

#include "error/error_codec.hpp"
#include "fakescore/error.hpp"

namespace fakescore::detail {
namespace {

TEST(Printable, LeavesTextAsItIs) {
  using namespace std::string_literals;
  for (const auto& text : {""s, "blocks.0.weight"s, "a b\\x1b\"'~"s, "caf\u00e9"s, "\u65e5\u672c"s,
                           "\U0001f469\u200d\U0001f52c"s, "\U0010ffff"s}) {
    EXPECT_EQ(printable(text), text);
    EXPECT_TRUE(is_valid_utf8(text));
  }
}

TEST(Printable, EscapesWhatActsOnATerminalOrHides) {
  using namespace std::string_literals;
  for (const auto& [text, want] : std::vector<std::pair<std::string, std::string>>{
           {"a\0b"s, "a\\x00b"},
           {"\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"},
           {"two\nlines\r\t\x7f", "two\\x0alines\\x0d\\x09\\x7f"},
           {"\xc2\x9b"
            "31m",
            "\\u009b31m"},
           {"\u202e\u2066\u200f\u061c", "\\u202e\\u2066\\u200f\\u061c"},
           {"\u2028\ufeff\u200b\u00ad", "\\u2028\\ufeff\\u200b\\u00ad"},
           {"\U000e0041", "\\U000e0041"}}) {
    EXPECT_EQ(printable(text), want);
    EXPECT_EQ(printable(printable(text)), want);
    EXPECT_TRUE(is_valid_utf8(text));
  }
}

TEST(Printable, EscapesEachByteThatIsNoUtf8) {
  for (const auto& [text, want] : std::vector<std::pair<std::string, std::string>>{
           {"caf\xe9", "caf\\xe9"},                                // latin 1
           {"\xe6\x97", "\\xe6\\x97"},                             // cut short
           {"\xe6\x97z", "\\xe6\\x97z"},                           // not continued
           {"\x80\xbf", "\\x80\\xbf"},                             // nothing to continue
           {"\xc0\x80\xe0\x80\x80", "\\xc0\\x80\\xe0\\x80\\x80"},  // longer than needed
           {"\xed\xa0\x80", "\\xed\\xa0\\x80"},                    // half of a surrogate pair
           {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},           // after the last character
           {"\xf8\x88\x80\x80\x80\xff", "\\xf8\\x88\\x80\\x80\\x80\\xff"}}) {
    EXPECT_EQ(printable(text), want);
    EXPECT_FALSE(is_valid_utf8(text));
  }
}

TEST(Printable, EachOfTheMillionCharactersIsReadAsItself) {
  const auto encode = [](char32_t code) -> std::string {
    const auto tail = [&](int shift) { return static_cast<char>(0x80 | ((code >> shift) & 0x3f)); };
    if (code < 0x80) return {static_cast<char>(code)};
    if (code < 0x800) return {static_cast<char>(0xc0 | (code >> 6)), tail(0)};
    if (code < 0x10000) return {static_cast<char>(0xe0 | (code >> 12)), tail(6), tail(0)};
    return {static_cast<char>(0xf0 | (code >> 18)), tail(12), tail(6), tail(0)};
  };
  for (char32_t code = 0; code <= 0x10ffff; ++code) {
    const std::string text = encode(code);
    const Utf8Character read = first_character(text + "z");
    const bool is_surrogate = code >= 0xd800 && code <= 0xdfff;
    ASSERT_EQ(read.bytes, is_surrogate ? 0 : text.size()) << static_cast<uint32_t>(code);
    ASSERT_EQ(read.code, is_surrogate ? 0 : code);
  }
}

TEST(HostileError, IsSaidWhole) {
  using namespace std::string_literals;
  const ErrorInfo info{ErrorCode::kTeacher, 0,          "plan", "caf\xe9/a\0b"s,
                       "is\x1b[2J bad\n",   "mend\0it"s};
  const std::string want =
      "teacher error on rank 0 in plan: caf\\xe9/a\\x00b: is\\x1b[2J bad\\x0a (mend\\x00it)";
  EXPECT_STREQ(Error(info).what(), want.c_str());
  EXPECT_EQ(Error(info).info().subject, info.subject);
  EXPECT_STREQ(Error(decode_error(encode_error(info))).what(), want.c_str()) << "another rank's";
}

}  // namespace
}  // namespace fakescore::detail
