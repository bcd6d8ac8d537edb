#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>
#include <nccl.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace fakescore::detail {

/// "unhandled system error: <NCCL's last error>": what NCCL says of a result.
std::string describe_nccl(ncclResult_t result, ncclComm_t comm);

/// A group of broadcasts on its way. The link keeps it until it has ended.
struct NcclFlight {
  std::string what;
  std::vector<at::Tensor> buffers;
  c10::Event done{c10::DeviceType::CUDA};
  bool is_enqueued = false;  ///< guarded by the link: `done` is recorded
};

/// Why a link is of no more use.
struct NcclFailure {
  std::string what;    ///< the broadcast that did not end
  std::string reason;  ///< the same words on every rank, as far as NCCL's are
};

/// One ncclComm_t and the thread that watches it: NCCL itself knows no deadlines, and a kernel that
/// waits for a lost peer ends only when its communicator is aborted, which must not depend on a
/// calling thread that may be stuck in the CUDA runtime or in NCCL. The abort, which may take
/// seconds, is that thread's alone; who waits hears of the failure before it.
///
/// Thread-safe. Destruction never throws; beyond Communicator::kPeerCensus it takes as long as NCCL
/// takes to abort.
class NcclLink {
 public:
  enum class Ownership {
    kOwned,           ///< destroyed with the link; aborted when it fails
    kAdopted,         ///< left alone; when it fails, buffers in flight are kept for good
    kAdoptedAborted,  ///< left alone, but aborted when it fails
  };
  using Poll = std::function<bool()>;

  /// Broadcasts go on `lane`, between what the current stream is given before and after; without
  /// one on the current stream itself.
  NcclLink(ncclComm_t comm, at::Device device, Ownership ownership,
           std::optional<c10::Stream> lane);
  ~NcclLink();
  NcclLink(const NcclLink&) = delete;
  NcclLink& operator=(const NcclLink&) = delete;

  /// Enqueues one group of in-place broadcasts, all on the link's device. Without progress within
  /// `timeout` the link fails, as it does where `peer_gave_up`, asked now and then, says so.
  std::shared_ptr<NcclFlight> launch(const std::vector<at::Tensor>& buffers, int root,
                                     const std::string& what, std::chrono::milliseconds timeout,
                                     const Poll& peer_gave_up);
  /// Whether a flight has ended well. Ask `failure` first: an abort ends flights as well.
  static bool landed(const NcclFlight& flight) { return flight.done.query(); }
  std::optional<NcclFailure> failure() const;
  /// Gives up, as when the control plane lost a peer.
  void fail(const std::string& what, const std::string& reason);

 private:
  using Clock = std::chrono::steady_clock;
  using Lock = std::unique_lock<std::mutex>;

  void watch();
  void look();
  void break_link(NcclFailure failure);
  void abort(Lock& lock);
  ncclResult_t enqueue(const NcclFlight& flight, int root, const c10::Stream& stream);
  ncclResult_t poll_until_enqueued(Lock& lock, ncclResult_t result, const std::string& what,
                                   const Poll& peer_gave_up);
  void close() noexcept;

  at::Device device_;

  mutable std::mutex mutex_;  // guards all that follows
  std::condition_variable changed_;
  ncclComm_t comm_;
  Ownership ownership_;
  std::optional<c10::Stream> lane_;
  std::deque<std::shared_ptr<NcclFlight>> flights_;
  Clock::time_point deadline_;
  std::chrono::milliseconds timeout_{0};
  std::optional<NcclFailure> failure_;
  bool stop_ = false;
  std::thread watchdog_;
};

}  // namespace fakescore::detail
