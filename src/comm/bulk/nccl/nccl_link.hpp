#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "comm/bulk/nccl/nccl_watch.hpp"
#include "fakescore/comm/bulk_plane.hpp"

namespace fakescore::detail {

/// Puts operations on an ncclComm_t that a thread watches. One thread uses it. Destruction never
/// throws, and waits for NCCL to end at most ControlPlane::kPeerCensus: a thread that is stuck in
/// NCCL is left behind with what it uses.
class NcclLink {
 public:
  using Poll = std::function<bool()>;

  /// Operations go on `lane`, between what the current stream is given before and after; without
  /// one on the current stream itself.
  NcclLink(ncclComm_t comm, at::Device device, NcclOwnership ownership,
           std::optional<c10::Stream> lane);
  ~NcclLink();
  NcclLink(const NcclLink&) = delete;
  NcclLink& operator=(const NcclLink&) = delete;

  /// Enqueues one group of in-place broadcasts, all on the link's device. Without progress within
  /// `timeout` the watch fails, as it does where `peer_gave_up`, asked now and then, says so.
  std::shared_ptr<NcclLaunch> broadcast(const std::vector<at::Tensor>& buffers, int root,
                                        const std::string& what, std::chrono::milliseconds timeout,
                                        const Poll& peer_gave_up);
  /// The same of a group of messages.
  std::shared_ptr<NcclLaunch> exchange(const Exchange& exchange, const std::string& what,
                                       std::chrono::milliseconds timeout, const Poll& peer_gave_up);

  NcclWatch& watch() noexcept { return *watch_; }

 private:
  void prepare(const std::vector<at::Tensor>& buffers, const c10::Stream& current,
               const c10::Stream& stream);
  /// Gives the operations of one group to NCCL, each of which returns its result.
  using Operations = std::vector<std::function<ncclResult_t(ncclComm_t, cudaStream_t)>>;

  std::shared_ptr<NcclLaunch> launch(const std::vector<at::Tensor>& buffers,
                                     const Operations& operations, const std::string& what,
                                     std::chrono::milliseconds timeout, const Poll& peer_gave_up);
  static ncclResult_t enqueue(ncclComm_t comm, const Operations& operations,
                              const c10::Stream& stream) noexcept;
  ncclResult_t poll_until_enqueued(ncclResult_t result, const std::string& what,
                                   const Poll& peer_gave_up);

  at::Device device_;
  std::optional<c10::Stream> lane_;
  std::shared_ptr<NcclWatch> watch_;
  std::thread watchdog_;
};

}  // namespace fakescore::detail
