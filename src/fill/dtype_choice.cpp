#include "fill/dtype_choice.hpp"

namespace fakescore::detail {

DtypeChoice::DtypeChoice(const CastOptions& options) : otherwise_(options.dtype) {
  for (const DtypeRule& rule : options.dtype_rules) {
    const std::string subject = "dtype rule \"" + rule.pattern + "\"";
    rules_.push_back({NamePattern(rule.pattern, subject), rule.dtype, subject});
  }
}

at::ScalarType DtypeChoice::choose(const std::string& name, at::ScalarType built) {
  std::optional<at::ScalarType> chosen;
  // All rules are tried: one that an earlier one hides has matched all the same.
  for (Rule& rule : rules_) {
    if (!rule.pattern.is_found_in(name, ErrorCode::kBuild)) continue;
    rule.has_matched = true;
    if (!chosen) chosen = rule.dtype;
  }
  return chosen.value_or(otherwise_.value_or(built));
}

void DtypeChoice::check_all_matched() const {
  for (const Rule& rule : rules_) {
    if (rule.has_matched) continue;
    throw ConfigError(rule.subject, "matches no floating-point parameter or buffer of the module",
                      "correct the pattern, or leave the rule out");
  }
}

}  // namespace fakescore::detail
