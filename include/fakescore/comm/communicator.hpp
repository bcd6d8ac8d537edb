#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fakescore/comm/bulk_plane.hpp"
#include "fakescore/comm/control_plane.hpp"
#include "fakescore/error.hpp"
#include "fakescore/export.hpp"

namespace fakescore {

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
///
/// make_communicator and its neighbours make them. A program with a transport of its own derives a
/// ControlPlane or a BulkPlane, and makes a communicator of that and of another one's planes.
class FAKESCORE_API Communicator final {
 public:
  static constexpr std::chrono::milliseconds kPeerCensus = ControlPlane::kPeerCensus;
  static constexpr std::chrono::milliseconds kLongestTimeout = ControlPlane::kLongestTimeout;

  /// Of planes with the same ranks: one for messages, one for bulk data in host memory, and, if
  /// there is one, one for this rank's GPU. What breaks one of them breaks all. Throws ConfigError
  /// where one is missing or on the wrong kind of device.
  Communicator(std::shared_ptr<ControlPlane> control, std::shared_ptr<BulkPlane> host,
               std::shared_ptr<BulkPlane> gpu = nullptr);
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const noexcept { return control_->rank(); }
  int world_size() const noexcept { return control_->world_size(); }
  std::chrono::milliseconds timeout() const noexcept { return control_->timeout(); }
  void set_timeout(std::chrono::milliseconds timeout) noexcept { control_->set_timeout(timeout); }

  /// "local", "mpi", "store", "nccl over mpi", ...: for reports and errors.
  const std::string& backend() const noexcept { return main_plane().backend(); }
  /// The device of the broadcasts' buffers: the CPU, or this rank's GPU.
  at::Device device() const noexcept { return main_plane().device(); }

  /// Control, as ControlPlane says of each.
  Comparison compare(const std::string& value, const std::string& what);
  std::vector<std::string> all_gather(const std::string& message, const std::string& what);
  std::string broadcast_message(const std::string& message, int root, const std::string& what);
  std::unique_ptr<OwnWork> begin_work(const std::string& what);
  uint64_t times_heard() const noexcept { return control_->times_heard(); }
  bool broken() const noexcept { return control_->broken(); }
  ErrorInfo abandon(const std::string& reason);
  void interrupt() noexcept { control_->interrupt(); }
  bool peer_abandoned();

  /// Data: begins to broadcast root's `buffer`, which is on `device()` or in host memory, as
  /// BulkPlane says.
  std::unique_ptr<PendingOperation> start_broadcast(const at::Tensor& buffer, int root,
                                                    const std::string& what);

  /// Data: several buffers, all on `device()` or all in host memory, as one operation if the
  /// backend can.
  std::unique_ptr<PendingOperation> start_broadcast_group(const std::vector<at::Tensor>& buffers,
                                                          int root, const std::string& what);

  /// Data: begins an exchange, of which both tensors are on `device()` or in host memory, as
  /// BulkPlane says.
  std::unique_ptr<PendingOperation> start_exchange(const Exchange& exchange,
                                                   const std::string& what);

  /// What carries bulk data of `device`, and lives as long as this communicator: a plane that it
  /// was made of; or, for a GPU where it has none, one that stages through host memory, made at the
  /// first call, which keeps 4 MiB of pinned memory. Throws ConfigError where this communicator
  /// belongs to another GPU.
  BulkPlane& bulk(at::Device device);

  /// The planes, to make another communicator of them. The last one is null where bulk data in host
  /// memory is all there is.
  const std::shared_ptr<ControlPlane>& control_plane() const noexcept { return control_; }
  const std::shared_ptr<BulkPlane>& host_plane() const noexcept { return host_; }
  const std::shared_ptr<BulkPlane>& gpu_plane() const noexcept { return gpu_; }

 private:
  BulkPlane& main_plane() const noexcept { return gpu_ ? *gpu_ : *host_; }
  BulkPlane& plane_of(const at::Tensor& buffer) const noexcept;
  BulkPlane& staged(at::Device device);
  void break_off(const std::string& reason) noexcept;
  template <typename Call>
  auto guard(Call call) -> decltype(call());

  // Bulk planes go before the control plane that they poll.
  std::shared_ptr<ControlPlane> control_;
  std::shared_ptr<BulkPlane> host_;
  std::shared_ptr<BulkPlane> gpu_;
  std::vector<std::unique_ptr<BulkPlane>> staged_;
};

inline constexpr std::chrono::milliseconds kDefaultTimeout{300'000};

}  // namespace fakescore
