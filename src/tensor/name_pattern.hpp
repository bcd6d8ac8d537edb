#pragma once

#include <regex>
#include <string>

#include "fakescore/error.hpp"

namespace fakescore::detail {

/// An ECMAScript regular expression that is looked for in tensors' names.
class NamePattern {
 public:
  /// std::regex recurses once for each character: longer names could exhaust the stack.
  static constexpr size_t kLongest = 1024;

  /// Throws ConfigError about `subject`, the rule that has the pattern, where it is empty, longer
  /// than kLongest or malformed.
  NamePattern(const std::string& pattern, const std::string& subject);

  /// Throws an error of code `code` for a name longer than kLongest; so does replace().
  bool is_found_in(const std::string& name, ErrorCode code) const;
  /// `name` with every match replaced by `format`, in which $1 is the first group.
  std::string replace(const std::string& name, const std::string& format, ErrorCode code) const;

 private:
  std::regex regex_;
};

}  // namespace fakescore::detail
