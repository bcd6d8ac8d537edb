#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>
#include <nccl.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "comm/control/deadline.hpp"

namespace fakescore::detail {

/// "unhandled system error: <NCCL's last error>": what NCCL says of a result.
std::string describe_nccl(ncclResult_t result, ncclComm_t comm);

/// Whose an ncclComm_t is.
enum class NcclOwnership {
  kOwned,           ///< destroyed when the watch ends; aborted when it fails
  kAdopted,         ///< left alone; when it fails, buffers in flight are kept for good
  kAdoptedAborted,  ///< left alone, but aborted when it fails
};

/// A group of operations on its way. The watch keeps it until it has ended.
struct NcclLaunch {
  std::string what;
  std::vector<at::Tensor> buffers;
  c10::Event done{c10::DeviceType::CUDA};
  bool is_enqueued = false;  ///< guarded by the watch: `done` is recorded
};

/// Why an ncclComm_t is of no more use.
struct NcclFailure {
  std::string what;    ///< the operation that did not end
  std::string reason;  ///< empty where a peer gave up
};

/// One ncclComm_t as a thread of its own watches it: NCCL itself knows no deadlines, and a kernel
/// that waits for a lost peer ends only when its communicator is aborted, which must not depend on
/// a calling thread that may be stuck in the CUDA runtime or in NCCL. The abort, which may take
/// seconds, is that thread's alone; who waits hears of the failure before it.
///
/// Thread-safe.
class NcclWatch {
 public:
  NcclWatch(ncclComm_t comm, at::Device device, NcclOwnership ownership)
      : device_(device), ownership_(ownership), comm_(comm) {}

  /// The thread's: watches until `stop`, then ends what is owned.
  void run();
  void stop();
  /// Whether `run` ended within the time.
  bool wait_ended(std::chrono::milliseconds timeout);

  /// Takes a launch into the watch; null once the watch has failed. From now on there must be
  /// progress within `timeout`. Until `end_call` NCCL is aborted only where the call is stuck.
  ncclComm_t begin(std::shared_ptr<NcclLaunch> launch, std::chrono::milliseconds timeout);
  /// The caller has left NCCL.
  void end_call();
  /// The launch's work lies on `stream`. False once the watch has failed.
  bool mark_enqueued(NcclLaunch& launch, const c10::Stream& stream);

  /// A peer said that it is at work: there may be no progress for longer.
  void hear_of_work();

  /// NCCL's own error of the work that it does in the background.
  ncclResult_t async_error() const;
  /// Whether a launch has ended well. If so, the watch drops it and all earlier ones. False after a
  /// failure: an abort also ends launches. Throws c10::Error if the device is no longer usable.
  bool has_ended(const std::shared_ptr<NcclLaunch>& launch);
  std::optional<NcclFailure> failure() const;
  /// A peer is gone or has given up. The first failure stays.
  void fail(NcclFailure failure);
  /// A call for `what` returned an error.
  void fail(const std::string& what, ncclResult_t result);
  /// The other ranks have been told of the failure: NCCL may be aborted. They would else take the
  /// abort for a failure of its own.
  void give_up(const std::string& reason);

 private:
  using Lock = std::unique_lock<std::mutex>;

  void look(Lock& lock);
  void drop_ended(const std::shared_ptr<NcclLaunch>& last);
  void wait_told(Lock& lock);
  void break_off(NcclFailure failure);
  ncclResult_t ask() const;
  void abort(Lock& lock);
  void close(Lock& lock);

  const at::Device device_;
  const NcclOwnership ownership_;

  mutable std::mutex mutex_;  // guards all that follows
  std::condition_variable changed_;
  ncclComm_t comm_;
  std::deque<std::shared_ptr<NcclLaunch>> launches_;
  std::chrono::milliseconds timeout_{0};
  Deadline deadline_{std::chrono::milliseconds(0)};
  std::optional<NcclFailure> failure_;
  bool is_in_call_ = false;  // a caller may use comm_
  bool is_told_ = false;     // the other ranks know of the failure
  bool stop_ = false;
  bool ended_ = false;
};

}  // namespace fakescore::detail
