#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "fakescore/error.hpp"

namespace fakescore::detail {

/// Checks of what callers pass to planes; each throws ConfigError.

inline void require_root(int root, int world_size, const std::string& what) {
  if (root >= 0 && root < world_size) return;
  throw ConfigError(what,
                    "root " + std::to_string(root) + " is not a rank of a job of " +
                        std::to_string(world_size) + " ranks",
                    "give a rank from 0 to the world size less one");
}

inline void require_buffer(const at::Tensor& buffer, at::Device where, const std::string& backend,
                           const std::string& what) {
  const bool fits = buffer.defined() && buffer.device() == where && buffer.dim() == 1 &&
                    buffer.scalar_type() == at::kByte && buffer.is_contiguous();
  if (fits) return;
  throw ConfigError(what, "a broadcast over " + backend +
                              " needs a contiguous 1-D uint8 tensor on " + where.str());
}

}  // namespace fakescore::detail
