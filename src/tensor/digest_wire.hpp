#pragma once

#include <tuple>

#include "error/wire.hpp"
#include "fakescore/tensor/digest_word.hpp"

namespace fakescore {

/// Digests as part of what travels between ranks.
inline auto wire_fields(Digest& digest) { return std::tie(digest.low, digest.high); }

}  // namespace fakescore
