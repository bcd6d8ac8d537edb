#pragma once

#include <string>

#include "tensor/name_pattern.hpp"

namespace fakescore::detail {

/// A rule "FROM=TO" as TeacherSource::rename_keys describes it.
class KeyRule {
 public:
  /// Throws ConfigError naming the rule.
  explicit KeyRule(const std::string& text);
  /// Throws TeacherError for a name that is too long.
  std::string apply(const std::string& name) const {
    return from_.replace(name, to_, ErrorCode::kTeacher);
  }

 private:
  struct Parts {
    std::string from;
    std::string to;
  };
  static Parts split(const std::string& text);
  KeyRule(const Parts& parts, const std::string& text);

  NamePattern from_;
  std::string to_;
};

}  // namespace fakescore::detail
