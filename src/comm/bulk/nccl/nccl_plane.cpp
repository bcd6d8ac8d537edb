// Bulk data of device memory over NCCL.
#include "comm/bulk/nccl/nccl_plane.hpp"

#include <c10/cuda/CUDAGuard.h>

#include <utility>

#include "comm/arguments.hpp"
#include "comm/bulk/controlled_plane.hpp"
#include "comm/bulk/nccl/nccl_link.hpp"
#include "error/torch_error.hpp"

namespace fakescore {
namespace {

using detail::NcclLaunch;
using detail::NcclLink;
using detail::NcclOwnership;

class NcclPlane : public detail::ControlledPlane {
 public:
  NcclPlane(std::shared_ptr<ControlPlane> control, at::Device device, ncclComm_t comm,
            NcclOwnership ownership, std::optional<c10::Stream> lane)
      : ControlledPlane(control, "nccl over " + control->backend(), device, "NCCL"),
        link_(comm, device, ownership, lane) {}

  std::unique_ptr<PendingOperation> start_broadcast(const at::Tensor& buffer, int root,
                                                    const std::string& what) override {
    return start_broadcast_group({buffer}, root, what);
  }
  std::unique_ptr<PendingOperation> start_broadcast_group(const std::vector<at::Tensor>& buffers,
                                                          int root,
                                                          const std::string& what) override;
  std::unique_ptr<PendingOperation> start_exchange(const Exchange& exchange,
                                                   const std::string& what) override;
  void break_off(const std::string& reason) noexcept override { link_.watch().give_up(reason); }

  /// Blocks until the launch has ended; looks after the control plane meanwhile.
  void finish(const std::shared_ptr<NcclLaunch>& launch);

 private:
  template <typename Launch>
  std::unique_ptr<PendingOperation> launch(const std::string& what, Launch launch);
  bool peer_abandoned() override;

  NcclLink link_;
};

using NcclOperation = detail::PendingOnPlane<NcclPlane, NcclLaunch>;

std::unique_ptr<PendingOperation> NcclPlane::start_broadcast_group(
    const std::vector<at::Tensor>& buffers, int root, const std::string& what) {
  require_healthy();
  detail::require_root(root, control().world_size(), what);
  for (const at::Tensor& buffer : buffers) {
    detail::require_buffer(buffer, device(), backend(), what);
  }
  if (buffers.empty()) return std::make_unique<NcclOperation>(*this, nullptr);
  return launch(what, [&](const NcclLink::Poll& peer_gave_up) {
    return link_.broadcast(buffers, root, what, control().timeout(), peer_gave_up);
  });
}

/// Who neither sends nor receives has no part in it: messages, other than collectives, concern two.
std::unique_ptr<PendingOperation> NcclPlane::start_exchange(const Exchange& exchange,
                                                            const std::string& what) {
  require_healthy();
  require_exchange(exchange, what);
  if (exchange.outgoing.numel() + exchange.incoming.numel() == 0) {
    return std::make_unique<NcclOperation>(*this, nullptr);
  }
  return launch(what, [&](const NcclLink::Poll& peer_gave_up) {
    return link_.exchange(exchange, what, control().timeout(), peer_gave_up);
  });
}

template <typename Launch>
std::unique_ptr<PendingOperation> NcclPlane::launch(const std::string& what, Launch launch) {
  try {
    const c10::cuda::CUDAGuard guard(device());
    const ControlPlane::Waiting waiting(control());
    return std::make_unique<NcclOperation>(*this, launch([this] { return peer_abandoned(); }));
  } catch (const c10::Error& error) {
    lose(what, detail::describe(error));
  }
}

/// The watch has a deadline of its own, and nothing to listen with.
bool NcclPlane::peer_abandoned() {
  const uint64_t before = control().times_heard();
  const bool abandoned = ControlledPlane::peer_abandoned();
  if (control().times_heard() != before) link_.watch().hear_of_work();
  return abandoned;
}

void NcclPlane::finish(const std::shared_ptr<NcclLaunch>& launch) {
  require_healthy();
  poll_until(
      [&] {
        try {
          if (link_.watch().has_ended(launch)) return true;
        } catch (const c10::Error& error) {
          // The device is of no more use, which all ranks must hear.
          lose(launch->what, detail::describe(error));
        }
        if (const auto failure = link_.watch().failure()) lose(failure->what, failure->reason);
        return false;
      },
      launch->what);
}

}  // namespace

std::unique_ptr<Communicator> detail::add_nccl(const Communicator& host, at::Device device,
                                               ncclComm_t comm, NcclOwnership ownership,
                                               std::optional<c10::Stream> lane) {
  const auto& control = host.control_plane();
  return std::make_unique<Communicator>(
      control, host.host_plane(),
      std::make_shared<NcclPlane>(control, device, comm, ownership, lane));
}

}  // namespace fakescore
