#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

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

/// Moves tensors of one device between the ranks of a control plane, which says when a peer is lost
/// and whose timeout holds here. While it waits it holds a `ControlPlane::Waiting` and polls
/// `peer_abandoned`; before it throws a CommError it has called `ControlPlane::abandon`. Scatters,
/// and broadcasts among some of the ranks, will be calls of this class, beside the broadcast to
/// all: no control plane has to know of them.
class FAKESCORE_API BulkPlane {
 public:
  virtual ~BulkPlane() = default;
  BulkPlane(const BulkPlane&) = delete;
  BulkPlane& operator=(const BulkPlane&) = delete;

  /// Of the buffers: the CPU, or this rank's GPU.
  at::Device device() const noexcept { return device_; }
  /// "mpi", "nccl over mpi", ...: for reports and errors.
  const std::string& backend() const noexcept { return backend_; }

  /// Begins to broadcast root's `buffer`, a contiguous 1-D uint8 tensor on `device()` of the same
  /// length on every rank. Several may be in flight; they finish in the order begun. On a GPU it is
  /// work on the calling thread's current stream, after the work already there. `what` names the
  /// tensor in errors.
  virtual std::unique_ptr<PendingBroadcast> start_broadcast(const at::Tensor& buffer, int root,
                                                            const std::string& what) = 0;

  /// Several buffers as one operation if the plane can (NCCL: one launch).
  virtual std::unique_ptr<PendingBroadcast> start_broadcast_group(
      const std::vector<at::Tensor>& buffers, int root, const std::string& what);

  /// The job is broken, and the other ranks know: lets go what waits here. May be called again.
  virtual void break_off(const std::string& reason) noexcept = 0;

 protected:
  BulkPlane(std::string backend, at::Device device)
      : backend_(std::move(backend)), device_(device) {}

 private:
  std::string backend_;
  at::Device device_;
};

}  // namespace fakescore
