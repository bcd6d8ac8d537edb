#pragma once

#include "comm/control/step.hpp"
#include "error/wire.hpp"

namespace fakescore::detail {

/// A step as part of what else travels.
inline auto wire_fields(Step& step) {
  return std::tie(step.kind, step.root, step.bytes, step.what);
}

/// Whether what was read is a step: its kind may be a number that means none.
inline bool is_known(const Step& step) {
  return step.kind >= CallKind::kAllGather && step.kind <= CallKind::kExchange;
}

}  // namespace fakescore::detail
