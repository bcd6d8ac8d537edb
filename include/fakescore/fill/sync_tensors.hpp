#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "fakescore/comm/communicator.hpp"
#include "fakescore/export.hpp"
#include "fakescore/tensor/digest.hpp"
#include "fakescore/tensor/named_tensor.hpp"
#include "fakescore/transfer/buffer_sizes.hpp"
#include "fakescore/transfer/progress.hpp"

namespace fakescore {

struct SyncOptions {
  int root = 0;
  /// Bytes of one broadcast; several are in flight. Must be the same on every rank. nullopt:
  /// kDefaultBucketBytes for host memory, kDefaultDeviceBucketBytes for a GPU's.
  std::optional<size_t> bucket_bytes;
  /// Compare a digest of every tensor across ranks afterwards.
  bool verify = false;
  ProgressCallback progress;
};

struct SyncReport {
  uint64_t bytes = 0;            ///< sent by the root, each shared byte once
  double seconds = 0;            ///< of this rank
  std::optional<Digest> digest;  ///< of every tensor, if `verify` was set
};

/// Lists the tensors, on every rank; what it throws, all ranks throw.
using TensorLister = std::function<std::vector<NamedTensor>()>;

/// Gives every rank root's values of the tensors that `list` lists.
///
/// Every rank passes the same tensors in the same order: names, shapes, dtypes, strides and sharing
/// of storage are compared before any byte moves. Tensors are written in place, so that parameters,
/// views and ties stay as they are; a byte that several tensors share moves once. Beside the
/// tensors a rank holds a few buckets of memory.
///
/// Tensors may be on the CPU and on one GPU of each rank. A GPU's bytes go over NCCL if the
/// communicator has it, else through host memory. GPU work begins after the work already on the
/// calling thread's current stream, and has ended when the call returns.
///
/// Collective: every rank calls it, in the same order among its collective calls.
/// Throws, on every rank and with the same text: MismatchError naming the first tensor that
/// differs, ConfigError for options that cannot work, a tensor without storage or a shard,
/// CommError for a lost peer.
FAKESCORE_API SyncReport sync_tensors(const TensorLister& list, Communicator& communicator,
                                      const SyncOptions& options = {});

/// The same for tensors that are listed already.
FAKESCORE_API SyncReport sync_tensors(const std::vector<NamedTensor>& tensors,
                                      Communicator& communicator, const SyncOptions& options = {});

}  // namespace fakescore
