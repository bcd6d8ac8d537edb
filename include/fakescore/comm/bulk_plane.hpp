#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fakescore/export.hpp"

namespace fakescore {

/// One broadcast or exchange in flight; destroy it only after `wait` returned or threw.
class FAKESCORE_API PendingOperation {
 public:
  virtual ~PendingOperation() = default;
  /// Blocks the calling thread until this rank's buffers may be used, on any stream (receivers:
  /// filled; senders: may be changed). Throws CommError when the communicator's timeout passes
  /// without progress or a peer is lost.
  virtual void wait() = 0;
};

/// Bytes for one rank, or from one.
struct Parcel {
  int rank = 0;
  int64_t bytes = 0;
};

/// What one rank sends to others and receives from them: contiguous 1-D uint8 tensors on the
/// plane's device, which the parcels fill one after the other, in ascending order of their ranks.
/// None is for this rank itself. Both tensors are defined; one without parcels has no elements. Who
/// begins an exchange keeps them until it has ended, and a plane where it breaks.
struct Exchange {
  at::Tensor outgoing;
  std::vector<Parcel> sends;
  at::Tensor incoming;
  std::vector<Parcel> receives;
};

/// Moves tensors of one device between the ranks of a control plane, which says when a peer is lost
/// and whose timeout holds here. While it waits it holds a `ControlPlane::Waiting` and polls
/// `peer_abandoned`; before it throws a CommError it has called `ControlPlane::abandon`.
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
  virtual std::unique_ptr<PendingOperation> start_broadcast(const at::Tensor& buffer, int root,
                                                            const std::string& what) = 0;

  /// Several buffers as one operation if the plane can (NCCL: one launch).
  virtual std::unique_ptr<PendingOperation> start_broadcast_group(
      const std::vector<at::Tensor>& buffers, int root, const std::string& what);

  /// Begins an exchange: every rank of the job begins it, in the same order among its operations,
  /// with what it sends and receives, which may be nothing; rank a sends b as many bytes as b
  /// receives from a. A scatter is one in which one rank sends. Streams and errors are as of
  /// `start_broadcast`.
  virtual std::unique_ptr<PendingOperation> start_exchange(const Exchange& exchange,
                                                           const std::string& what) = 0;

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
