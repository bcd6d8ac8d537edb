#pragma once

#include <ATen/core/dispatch/Dispatcher.h>

#include <cstddef>
#include <optional>
#include <vector>

namespace fakescore::detail {

/// What recording and replaying need to know of an operator; read once from its schema.
struct OpInfo {
  std::optional<size_t> device;  ///< position of these arguments, where there are such
  std::optional<size_t> generator;
  std::optional<size_t> pin_memory;
  std::vector<bool> writes;    ///< for each argument: does the op write to it?
  bool writes_any = false;     ///< in-place ops and out variants
  bool has_out = false;        ///< an out variant: what it writes to may change its size
  bool random = false;         ///< its result depends on a generator
  bool reads_values = false;   ///< returns numbers, not tensors, that depend on values
  bool dynamic_shape = false;  ///< the shape of its result depends on values
  bool values_alone = false;   ///< all it does is to change its first argument's values
  bool leaves_unset = false;   ///< what it makes, or makes longer, holds whatever memory held
};

/// From a cache that each thread has of its own. Valid as long as the operator is registered.
const OpInfo& op_info(const c10::OperatorHandle& op);

}  // namespace fakescore::detail
