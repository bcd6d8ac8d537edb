#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "fakescore/comm/communicator.hpp"
#include "fakescore/core/digest.hpp"
#include "fakescore/export.hpp"

namespace torch::nn {
class Module;
}

namespace fakescore {

/// The progress of a phase, in bytes on the wire.
struct Progress {
  std::string phase;
  uint64_t done_bytes = 0;
  uint64_t total_bytes = 0;
};

/// Called on the calling thread of the rank that set it, about once for each bucket. It must not
/// throw.
using ProgressCallback = std::function<void(const Progress&)>;

inline constexpr size_t kDefaultBucketBytes = size_t{1} << 20;
inline constexpr size_t kDefaultDeviceBucketBytes = size_t{32} << 20;
inline constexpr size_t kDefaultPinnedBytes = size_t{64} << 20;

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
  uint64_t bytes = 0;            ///< broadcast by the root, each shared byte once
  double seconds = 0;            ///< of this rank
  std::optional<Digest> digest;  ///< of every tensor, if `verify` was set
};

/// Gives every rank root's values of all parameters and buffers of `module`.
///
/// Every rank passes a module with the same tensors in the same order: names, shapes, dtypes,
/// strides and sharing of storage are compared before any byte moves. Tensors are written in place,
/// so that parameters, views and ties stay as they are; a byte that several tensors share moves
/// once. Beside the model a rank holds a few buckets of memory.
///
/// Tensors may be on the CPU and on one GPU of each rank. A GPU's bytes go over NCCL if the
/// communicator has it, else through host memory. GPU work begins after the work already on the
/// calling thread's current stream, and has ended when the call returns.
///
/// Collective: every rank calls it, in the same order among its collective calls.
/// Throws, on every rank and with the same text: MismatchError naming the first tensor that
/// differs, ConfigError for options that cannot work or a tensor without storage, CommError for a
/// lost peer.
FAKESCORE_API SyncReport sync_module_states(torch::nn::Module& module, Communicator& communicator,
                                            const SyncOptions& options = {});

}  // namespace fakescore
