#pragma once

#include <string>
#include <vector>

#include "fakescore/fill/cast_options.hpp"
#include "tensor/name_pattern.hpp"

namespace fakescore::detail {

/// The dtypes that CastOptions give to floating-point tensors, by name.
class DtypeChoice {
 public:
  /// Throws ConfigError naming a rule whose pattern is malformed.
  explicit DtypeChoice(const CastOptions& options);
  /// `built` is the dtype that the tensor has. Throws BuildError for a name that is too long.
  at::ScalarType choose(const std::string& name, at::ScalarType built);
  /// Throws ConfigError naming the first rule that no name matched.
  void check_all_matched() const;

 private:
  struct Rule {
    NamePattern pattern;
    at::ScalarType dtype;
    std::string subject;  ///< for errors
    bool has_matched = false;
  };

  std::optional<at::ScalarType> otherwise_;
  std::vector<Rule> rules_;
};

}  // namespace fakescore::detail
