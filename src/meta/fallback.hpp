#pragma once

namespace fakescore::detail {

/// Lets the dispatcher hand every op of a thread that has a MetaInitGuard to its tape: once a
/// process, for good. Throws ConfigError where another copy of this library has done so.
void register_fallback();

}  // namespace fakescore::detail
