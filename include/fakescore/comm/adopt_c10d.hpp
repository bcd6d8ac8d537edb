#pragma once

#include <c10/util/intrusive_ptr.h>

#include <memory>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>

#include "fakescore/comm/adopt_options.hpp"
#include "fakescore/comm/communicator.hpp"
#include "fakescore/comm/make_communicator.hpp"
#include "fakescore/export.hpp"

namespace fakescore {

/// A communicator over a process group of the host job (NCCL, Gloo, ...), which is used and never
/// owned. Collective. Bulk data on `device` goes over the group, and bulk data in host memory of a
/// GPU job over `control`; but in host memory of ranks that are all on one host, through memory
/// that they share, if they can (`share_host_memory`). Messages go over `control`; if that is null,
/// over the group's own store (`make_group_control`). Where what goes over the group has failed,
/// the host job cannot use it either: Gloo's pairs are closed, and NCCL's kernels never end unless
/// options.abort_on_failure is set. Throws ConfigError for a null group (Python's None), for one
/// without NCCL if `device` is a GPU, and for one without a store if `control` is null; CommError
/// for a lost peer.
FAKESCORE_API std::unique_ptr<Communicator> adopt_process_group(
    c10::intrusive_ptr<c10d::ProcessGroup> group, at::Device device,
    std::unique_ptr<Communicator> control = nullptr,
    std::chrono::milliseconds timeout = kDefaultTimeout, const AdoptOptions& options = {});

/// What carries the messages of an adopted group: its own store, under keys that start with
/// "fakescore/". Throws ConfigError for a group that has none.
FAKESCORE_API std::unique_ptr<Communicator> make_group_control(
    const c10d::ProcessGroup& group, std::chrono::milliseconds timeout = kDefaultTimeout);

}  // namespace fakescore
