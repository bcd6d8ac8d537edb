#pragma once

#include <memory>

#include "fakescore/comm/bulk_plane.hpp"
#include "fakescore/comm/control_plane.hpp"

namespace fakescore::detail {

/// Ends the name of the backend that it is for.
inline constexpr const char* kStaged = ", staged through host memory";

/// Lets a plane for host memory broadcast device memory: the root's buffer is copied to pinned
/// memory, broadcast there, and copied to the device on the other ranks. Two more copies than NCCL,
/// for jobs that insist on the host's transport. An exchange takes as much host memory as its
/// buffers have.
std::unique_ptr<BulkPlane> stage_through_host(std::shared_ptr<ControlPlane> control,
                                              std::shared_ptr<BulkPlane> host, at::Device device);

}  // namespace fakescore::detail
