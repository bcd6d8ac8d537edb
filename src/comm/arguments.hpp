#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "fakescore/comm/bulk_plane.hpp"
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
  throw ConfigError(what, "an operation over " + backend +
                              " needs a contiguous 1-D uint8 tensor on " + where.str());
}

inline void require_parcels(const std::vector<Parcel>& parcels, const at::Tensor& buffer, int rank,
                            int world_size, const std::string& what) {
  int64_t bytes = 0;
  int before = -1;
  for (const Parcel& parcel : parcels) {
    const bool fits = parcel.rank > before && parcel.rank < world_size && parcel.rank != rank &&
                      parcel.bytes >= 0;
    if (!fits) {
      throw ConfigError(what,
                        "an exchange has a parcel of " + std::to_string(parcel.bytes) +
                            " bytes with rank " + std::to_string(parcel.rank),
                        "give one for each other rank at most, in their order");
    }
    before = parcel.rank;
    bytes += parcel.bytes;
  }
  if (bytes == buffer.numel()) return;
  throw ConfigError(what,
                    "the parcels of an exchange have " + std::to_string(bytes) +
                        " bytes, but their buffer " + std::to_string(buffer.numel()),
                    "give a buffer that the parcels fill");
}

inline void require_exchange(const Exchange& exchange, const BulkPlane& plane, int rank,
                             int world_size, const std::string& what) {
  require_buffer(exchange.outgoing, plane.device(), plane.backend(), what);
  require_buffer(exchange.incoming, plane.device(), plane.backend(), what);
  require_parcels(exchange.sends, exchange.outgoing, rank, world_size, what);
  require_parcels(exchange.receives, exchange.incoming, rank, world_size, what);
}

}  // namespace fakescore::detail
