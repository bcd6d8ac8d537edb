#pragma once

#include <memory>
#include <vector>

#include "comm/bulk/shared_memory/peer_process.hpp"
#include "comm/bulk/shared_memory/shared_segment.hpp"
#include "fakescore/comm/bulk_plane.hpp"
#include "fakescore/comm/control_plane.hpp"

namespace fakescore::detail {

/// What ranks of one host know of each other, by rank: segments as SegmentLayout cuts them.
struct SharedMemory {
  std::vector<SharedSegment> segments;
  std::vector<PeerProcess> processes;
};

/// Bulk data in host memory through the ranks' segments. Bytes move while a rank begins an
/// operation or waits for one, on its calling thread.
std::shared_ptr<BulkPlane> make_shared_memory_plane(const std::shared_ptr<ControlPlane>& control,
                                                    SharedMemory memory);

}  // namespace fakescore::detail
