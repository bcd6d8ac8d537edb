#include "teacher/source/key_rule.hpp"

namespace fakescore::detail {
namespace {

std::string subject_of(const std::string& text) { return "key rule \"" + text + "\""; }

}  // namespace

KeyRule::Parts KeyRule::split(const std::string& text) {
  Parts parts;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '=') {
      parts.to = text.substr(i + 1);
      return parts;
    }
    if (text[i] != '\\' || i + 1 == text.size()) {
      parts.from += text[i];
      continue;
    }
    // Any other escape is the regular expression's own.
    if (text[++i] != '=') parts.from += '\\';
    parts.from += text[i];
  }
  throw ConfigError(subject_of(text), "has no \"=\"",
                    "write FROM=TO, where FROM is a regular expression and TO what replaces it");
}

KeyRule::KeyRule(const std::string& text) : KeyRule(split(text), text) {}

KeyRule::KeyRule(const Parts& parts, const std::string& text)
    : from_(parts.from, subject_of(text)), to_(parts.to) {}

}  // namespace fakescore::detail
