#include "tensor/name_pattern.hpp"

namespace fakescore::detail {
namespace {

std::regex compile(const std::string& pattern, const std::string& subject) {
  constexpr const char* kRemedy = "give an ECMAScript regular expression, such as ^blocks\\.0\\.";
  if (pattern.empty() || pattern.size() > NamePattern::kLongest) {
    throw ConfigError(subject,
                      "its pattern has " + std::to_string(pattern.size()) +
                          " bytes, and must have 1 to " + std::to_string(NamePattern::kLongest),
                      kRemedy);
  }
  try {
    return std::regex(pattern, std::regex::ECMAScript | std::regex::optimize);
  } catch (const std::regex_error& error) {
    throw ConfigError(subject, "\"" + pattern + "\" is not a regular expression: " + error.what(),
                      kRemedy);
  }
}

void check_length(const std::string& name, ErrorCode code) {
  if (name.size() <= NamePattern::kLongest) return;
  throw_error({code, -1, "", "tensor " + name.substr(0, 200) + "...",
               "its name has " + std::to_string(name.size()) +
                   " bytes; regular expressions are matched against names of at most " +
                   std::to_string(NamePattern::kLongest) + " bytes",
               "leave the rules out, or rename the tensor in the checkpoint"});
}

}  // namespace

NamePattern::NamePattern(const std::string& pattern, const std::string& subject)
    : regex_(compile(pattern, subject)) {}

bool NamePattern::is_found_in(const std::string& name, ErrorCode code) const {
  check_length(name, code);
  return std::regex_search(name, regex_);
}

std::string NamePattern::replace(const std::string& name, const std::string& format,
                                 ErrorCode code) const {
  check_length(name, code);
  return std::regex_replace(name, regex_, format);
}

}  // namespace fakescore::detail
