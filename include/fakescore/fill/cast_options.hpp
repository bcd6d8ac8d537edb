#pragma once

#include <c10/core/ScalarType.h>

#include <optional>
#include <string>
#include <vector>

namespace fakescore {

/// A dtype for the floating-point parameters and buffers whose names match a pattern.
struct DtypeRule {
  std::string pattern;  ///< ECMAScript regular expression, searched for: "norm", "^blocks\\.0\\."
  at::ScalarType dtype;
};

/// The dtypes of a module's floating-point parameters and buffers.
struct CastOptions {
  /// For every one; nullopt keeps what the builder makes.
  std::optional<at::ScalarType> dtype;
  /// Exceptions from `dtype`; a tensor gets the dtype of the first rule that matches its name.
  /// ConfigError if tensors that share storage would get different dtypes, or if a rule matches no
  /// floating-point tensor.
  std::vector<DtypeRule> dtype_rules;
};

}  // namespace fakescore
