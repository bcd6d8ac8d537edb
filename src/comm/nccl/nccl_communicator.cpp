// Bulk data of device memory over NCCL; control messages over a host communicator.
#include "comm/nccl/nccl_communicator.hpp"

#include <c10/cuda/CUDAGuard.h>

#include "comm/controlled_communicator.hpp"
#include "comm/nccl/nccl_link.hpp"
#include "error/torch_error.hpp"

namespace fakescore {
namespace {

using detail::NcclFlight;
using detail::NcclLink;
using detail::NcclOwnership;

class NcclCommunicator : public detail::ControlledCommunicator {
 public:
  NcclCommunicator(std::shared_ptr<Communicator> control, at::Device device, ncclComm_t comm,
                   NcclOwnership ownership, std::optional<c10::Stream> lane)
      : ControlledCommunicator(control, "nccl over " + control->backend(), device, "NCCL"),
        link_(comm, device, ownership, lane) {}

  std::unique_ptr<PendingBroadcast> start_broadcast_group(const std::vector<at::Tensor>& buffers,
                                                          int root,
                                                          const std::string& what) override;

  /// Blocks until the flight has landed; looks after the control plane meanwhile.
  void finish(const std::shared_ptr<NcclFlight>& flight);
  bool peer_abandoned() override;

 private:
  std::unique_ptr<PendingBroadcast> start_bulk(const at::Tensor& buffer, int root,
                                               const std::string& what) override {
    return launch({buffer}, root, what);
  }
  std::unique_ptr<PendingBroadcast> launch(const std::vector<at::Tensor>& buffers, int root,
                                           const std::string& what);
  void break_data_plane(const std::string& reason) noexcept override {
    link_.watch().give_up(reason);
  }

  NcclLink link_;
};

class NcclBroadcast : public PendingBroadcast {
 public:
  NcclBroadcast(NcclCommunicator& communicator, std::shared_ptr<NcclFlight> flight)
      : communicator_(communicator), flight_(std::move(flight)) {}
  void wait() override {
    if (flight_) communicator_.finish(flight_);
    flight_.reset();
  }

 private:
  NcclCommunicator& communicator_;
  std::shared_ptr<NcclFlight> flight_;
};

std::unique_ptr<PendingBroadcast> NcclCommunicator::start_broadcast_group(
    const std::vector<at::Tensor>& buffers, int root, const std::string& what) {
  require_healthy();
  require_root(root, what);
  for (const at::Tensor& buffer : buffers) require_buffer(buffer, device(), what);
  if (buffers.empty()) return std::make_unique<NcclBroadcast>(*this, nullptr);
  return launch(buffers, root, what);
}

std::unique_ptr<PendingBroadcast> NcclCommunicator::launch(const std::vector<at::Tensor>& buffers,
                                                           int root, const std::string& what) {
  try {
    const c10::cuda::CUDAGuard guard(device());
    const Waiting waiting(who_waits());
    return std::make_unique<NcclBroadcast>(
        *this, link_.launch(buffers, root, what, timeout(), [this] { return peer_abandoned(); }));
  } catch (const c10::Error& error) {
    lose(what, detail::describe(error));
  }
}

/// The watch has a deadline of its own, and nothing to listen with.
bool NcclCommunicator::peer_abandoned() {
  const uint64_t before = times_heard();
  const bool abandoned = ControlledCommunicator::peer_abandoned();
  if (times_heard() != before) link_.watch().hear_of_work();
  return abandoned;
}

void NcclCommunicator::finish(const std::shared_ptr<NcclFlight>& flight) {
  require_healthy();
  poll_until(
      [&] {
        try {
          if (link_.watch().has_landed(flight)) return true;
        } catch (const c10::Error& error) {
          // The device is of no more use, which all ranks must hear.
          lose(flight->what, detail::describe(error));
        }
        if (const auto failure = link_.watch().failure()) lose(failure->what, failure->reason);
        return false;
      },
      flight->what);
}

}  // namespace

std::unique_ptr<Communicator> detail::wrap_nccl(std::unique_ptr<Communicator> control,
                                                at::Device device, ncclComm_t comm,
                                                NcclOwnership ownership,
                                                std::optional<c10::Stream> lane) {
  return std::make_unique<NcclCommunicator>(std::move(control), device, comm, ownership, lane);
}

}  // namespace fakescore
