#pragma once

#include <c10/core/DispatchKeySet.h>

#include <optional>

namespace fakescore::detail {

/// The dispatch key by which operators are seen under a MetaInitGuard; none where LibTorch has no
/// key that is left to others.
std::optional<c10::DispatchKey> recording_key() noexcept;

inline c10::DispatchKeySet recording_keys() noexcept {
  const std::optional<c10::DispatchKey> key = recording_key();
  return key ? c10::DispatchKeySet(*key) : c10::DispatchKeySet();
}

}  // namespace fakescore::detail
