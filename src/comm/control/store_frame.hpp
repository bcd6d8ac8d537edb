#pragma once

#include <cstdint>
#include <vector>

#include "comm/control/step.hpp"

namespace fakescore::detail {

/// What lies under a key: which step it belongs to, and the bytes themselves.
struct Frame {
  Step step;
  std::vector<uint8_t> payload;
};

std::vector<uint8_t> pack(const Step& step, const void* data, size_t length);

/// The reverse of `pack`; a frame that cannot be read has an empty step.
Frame unpack(const std::vector<uint8_t>& packed);

}  // namespace fakescore::detail
