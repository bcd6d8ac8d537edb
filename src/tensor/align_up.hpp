#pragma once

#include <cstddef>

namespace fakescore::detail {

inline size_t align_up(size_t bytes, size_t alignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

}  // namespace fakescore::detail
