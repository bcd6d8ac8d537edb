#pragma once

#include <memory>

#include "fakescore/comm/communicator.hpp"

namespace fakescore::detail {

/// Lets a host communicator, which must outlive it, broadcast device memory: the root's buffer is
/// copied to pinned memory, broadcast there, and copied to the device on the other ranks. Two more
/// copies than NCCL, for jobs that insist on the host's transport.
std::unique_ptr<Communicator> stage_through_host(Communicator& host, at::Device device);

}  // namespace fakescore::detail
