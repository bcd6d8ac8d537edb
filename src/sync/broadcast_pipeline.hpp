#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fakescore/comm/communicator.hpp"
#include "fakescore/core/error.hpp"
#include "fakescore/core/teacher_source.hpp"
#include "fakescore/sync/sync_module_states.hpp"
#include "sync/bucket_plan.hpp"

namespace fakescore::detail {

/// One storage to broadcast.
struct Transfer {
  std::string name;  ///< of its first tensor, for errors
  TransferLayout layout;
  at::Tensor destination;  ///< the storage as 1-D uint8

  /// Root only: called right before the first byte of this storage leaves. Returns the 1-D uint8
  /// wire bytes of the layout's only range, in host memory or on the destination's device, from
  /// which the root sends and fills its own destination; or an undefined tensor once the
  /// destination itself holds the values, as it does where this is empty. What it returns is
  /// dropped as soon as its last byte has left.
  std::function<at::Tensor()> open_source;
  /// Root only, for host memory: the wire bytes where they lie in a file; null where they do not. A
  /// root without other ranks reads from it what is large; others send and copy what open_source
  /// returns, its mapping, and let go of it as they go.
  std::shared_ptr<const FileBytes> file_bytes;
  /// Whether what open_source returns may lie in host memory, from which a GPU is fed by way of
  /// pinned memory.
  bool reads_host_memory = false;
};

struct PipelineOptions {
  int root = 0;
  size_t bucket_bytes = kDefaultBucketBytes;
  size_t pinned_bytes = kDefaultPinnedBytes;
  std::string phase;
  ProgressCallback progress;
};

struct PipelineResult {
  uint64_t bytes = 0;  ///< on the wire
  /// This rank's first failure. The stream went on to its end all the same, so that the other
  /// ranks are not left waiting; what arrived is of no use.
  std::optional<ErrorInfo> failure;
};

std::vector<TransferLayout> layouts_of(const std::vector<Transfer>& transfers);

/// Streams storages from the root to every rank in buckets, several in flight. All destinations lie
/// on one device: host memory, whose pages are populated once, right before their bucket, or the
/// communicator's GPU (see device_pipeline.hpp). Collective, with the same layouts everywhere.
/// Throws CommError for a lost peer.
PipelineResult broadcast_transfers(Communicator& communicator,
                                   const std::vector<Transfer>& transfers,
                                   const PipelineOptions& options);

}  // namespace fakescore::detail
