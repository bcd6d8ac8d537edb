#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fakescore/error.hpp"
#include "fakescore/export.hpp"

namespace fakescore {

/// One broadcast in flight; destroy it only after `wait` returned or threw.
class FAKESCORE_API PendingBroadcast {
 public:
  virtual ~PendingBroadcast() = default;
  /// Blocks the calling thread until this rank's buffers may be used, on any stream (receivers:
  /// filled; root: may be changed). Throws CommError when the communicator's timeout passes without
  /// progress or a peer is lost.
  virtual void wait() = 0;
};

/// As long as it exists, the other ranks hear that this one is at work; see
/// `Communicator::begin_work`. Destroy it before its communicator, on the thread that made it, and
/// the youngest first.
class FAKESCORE_API OwnWork {
 public:
  virtual ~OwnWork() = default;
};

/// What `Communicator::compare` found: rank 0's value, and the lowest rank that has another one.
struct Comparison {
  std::string of_rank_0;
  int other_rank = -1;  ///< -1 where every rank has rank 0's value
  std::string of_other_rank;

  bool is_same() const noexcept { return other_rank < 0; }
};

/// A fixed group of ranks that exchange small host messages (control) and bulk tensors (data).
/// Control always goes over the host; data lives on `device()`: the CPU, or this rank's GPU.
///
/// Every wait has a deadline: `timeout()` after the call began, after its last progress, and after
/// a peer was last heard to be at work (`begin_work`), ten times `timeout()` at most without
/// progress. When it passes, or a peer is found lost, the call throws CommError naming the ranks
/// that did not answer, and the communicator is broken: later calls throw at once, and buffers of
/// unfinished broadcasts stay alive with it. The ranks that are still there hear of it within that
/// time plus a grace of at most `kPeerCensus`.
///
/// Collective calls must be made by every rank in the same order. One thread at a time may use a
/// communicator; an MPI one makes its MPI calls on the calling thread, but for `begin_work` where
/// MPI has MPI_THREAD_MULTIPLE. Destruction never throws; it returns at once, but for what may each
/// take kPeerCensus at most: NCCL's own end; over a store, to say that this rank leaves, and on the
/// last rank to clean up; and on the rank that serves the job's store the others' farewell, so that
/// their last message is not cut off.
class FAKESCORE_API Communicator {
 public:
  /// How long survivors take at most to find out which ranks are lost.
  static constexpr std::chrono::milliseconds kPeerCensus{2000};

  /// The longest timeout; a longer one is cut to it. Some clocks count milliseconds in an int.
  static constexpr std::chrono::milliseconds kLongestTimeout = std::chrono::hours(24 * 24);

  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const noexcept { return rank_; }
  int world_size() const noexcept { return world_size_; }
  std::chrono::milliseconds timeout() const noexcept { return timeout_; }
  void set_timeout(std::chrono::milliseconds timeout) noexcept {
    timeout_ = std::min(timeout, kLongestTimeout);
  }

  /// "local", "mpi", "store", "nccl over mpi", ...: for reports and errors.
  const std::string& backend() const noexcept { return backend_; }
  /// The device of the broadcasts' buffers: the CPU, or this rank's GPU.
  at::Device device() const noexcept { return device_; }

  /// Control: whether every rank has the same value. What a rank sends and receives for it does not
  /// grow with the number of ranks, except on the one that combines: the way to agree. `what` names
  /// the step in errors.
  virtual Comparison compare(const std::string& value, const std::string& what) = 0;

  /// Control: every rank's message, indexed by rank, on every rank. Lengths may differ. A rank
  /// receives as much as all ranks send, so this is for what differs from rank to rank.
  virtual std::vector<std::string> all_gather(const std::string& message,
                                              const std::string& what) = 0;

  /// Control: root's message, on every rank. The `message` of other ranks is ignored.
  virtual std::string broadcast_message(const std::string& message, int root,
                                        const std::string& what) = 0;

  /// Data: begins to broadcast root's `buffer`, a contiguous 1-D uint8 tensor on `device()` or
  /// in host memory, of the same length on every rank. Several may be in flight; they finish in the
  /// order begun. On a GPU it is work on the calling thread's current stream, after the work
  /// already there. `what` names the tensor in errors.
  virtual std::unique_ptr<PendingBroadcast> start_broadcast(const at::Tensor& buffer, int root,
                                                            const std::string& what) = 0;

  /// Data: several buffers as one operation if the backend can (NCCL: one launch).
  virtual std::unique_ptr<PendingBroadcast> start_broadcast_group(
      const std::vector<at::Tensor>& buffers, int root, const std::string& what);

  /// Control, by one rank alone: says to the others, until the result is destroyed, that this rank
  /// is at work on `what`, a step of its own that may take longer than their timeout. They hear of
  /// it each quarter of `timeout()`, but not while this rank waits for them. A rank that dies or is
  /// stopped meanwhile is not heard of, and is lost within their timeout. Null where the backend
  /// cannot: MPI below MPI_THREAD_MULTIPLE, a world of one rank, and by default.
  virtual std::unique_ptr<OwnWork> begin_work(const std::string& what);

  /// How often another rank was heard to be at work, as far as `peer_abandoned` and the waiting
  /// calls have listened. Where it grows, who waits for something else than this communicator has
  /// reason to wait on.
  virtual uint64_t times_heard() const noexcept { return 0; }

  /// Whether a peer was lost; every call but the destructor then throws.
  virtual bool broken() const noexcept = 0;

  /// Control: tells the other ranks that this one cannot go on, finds out which ranks still answer,
  /// and returns what every rank then throws as a CommError. `reason` is part of it; if empty, the
  /// first rank that gave up supplies the reason. The communicator is broken afterwards.
  virtual ErrorInfo abandon(const std::string& reason) = 0;

  /// Control: whether another rank has abandoned the job or looks for lost peers. A rank that waits
  /// for something other than this communicator polls this, and if it is true calls `abandon("")`.
  virtual bool peer_abandoned() = 0;

 protected:
  Communicator(int rank, int world_size, std::chrono::milliseconds timeout, std::string backend,
               at::Device device = at::kCPU)
      : rank_(rank),
        world_size_(world_size),
        timeout_(std::min(timeout, kLongestTimeout)),
        backend_(std::move(backend)),
        device_(device) {}

 private:
  int rank_;
  int world_size_;
  std::chrono::milliseconds timeout_;
  std::string backend_;
  at::Device device_;
};

inline constexpr std::chrono::milliseconds kDefaultTimeout{300'000};

}  // namespace fakescore
