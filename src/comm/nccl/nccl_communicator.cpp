// Bulk data of device memory over NCCL; control messages over a host communicator.
#include "comm/nccl/nccl_communicator.hpp"

#include <c10/cuda/CUDAGuard.h>

#include <thread>

#include "comm/base_communicator.hpp"

namespace fakescore {
namespace {

using detail::Clock;
using detail::NcclFailure;
using detail::NcclFlight;
using detail::NcclLink;

constexpr std::chrono::microseconds kNap{50};
// The control plane is asked less often: over a store each look is a message.
constexpr std::chrono::milliseconds kControlInterval{100};

std::string describe(const NcclFailure& failure) {
  return "NCCL broadcast of " + failure.what + ": " + failure.reason;
}

class NcclCommunicator : public detail::BaseCommunicator {
 public:
  NcclCommunicator(std::unique_ptr<Communicator> control, at::Device device,
                   std::unique_ptr<NcclLink> link)
      : BaseCommunicator(control->rank(), control->world_size(), control->timeout(),
                         "nccl over " + control->backend(), device),
        control_(std::move(control)),
        link_(std::move(link)) {}

  std::vector<std::string> all_gather(const std::string& message,
                                      const std::string& what) override {
    return on_control([&](Communicator& control) { return control.all_gather(message, what); });
  }
  std::string broadcast_message(const std::string& message, int root,
                                const std::string& what) override {
    return on_control(
        [&](Communicator& control) { return control.broadcast_message(message, root, what); });
  }
  std::unique_ptr<PendingBroadcast> start_broadcast(const at::Tensor& buffer, int root,
                                                    const std::string& what) override {
    // What lies in host memory goes the control plane's way.
    if (buffer.defined() && buffer.is_cpu()) {
      return on_control(
          [&](Communicator& control) { return control.start_broadcast(buffer, root, what); });
    }
    return start_broadcast_group({buffer}, root, what);
  }
  std::unique_ptr<PendingBroadcast> start_broadcast_group(const std::vector<at::Tensor>& buffers,
                                                          int root,
                                                          const std::string& what) override;
  ErrorInfo abandon(const std::string& reason) override {
    // The census first: the abort may take longer than the others listen.
    const ErrorInfo verdict = control_->abandon(reason);
    link_->fail(reason, "the job was abandoned");
    return failure_of([&] { fail(verdict); });
  }
  bool peer_abandoned() override {
    return on_control([](Communicator& control) { return control.peer_abandoned(); });
  }

  /// Blocks until the flight has landed; looks after the control plane meanwhile.
  void finish(const NcclFlight& flight);

 private:
  /// An error of the device is a failure that all ranks must hear of.
  bool has_landed(const NcclFlight& flight) {
    try {
      return NcclLink::landed(flight);
    } catch (const c10::Error& error) {
      throw CommError(abandon(describe({flight.what, error.what_without_backtrace()})));
    }
  }
  /// What breaks the control plane breaks this communicator, and NCCL's share with it.
  template <typename Call>
  auto on_control(Call call) -> decltype(call(std::declval<Communicator&>())) {
    require_healthy();
    control_->set_timeout(timeout());
    try {
      return call(*control_);
    } catch (const CommError& error) {
      link_->fail("", "the control plane lost a peer");
      fail(error.info());
    }
  }

  std::unique_ptr<Communicator> control_;
  std::unique_ptr<NcclLink> link_;
};

class NcclBroadcast : public PendingBroadcast {
 public:
  NcclBroadcast(NcclCommunicator& communicator, std::shared_ptr<NcclFlight> flight)
      : communicator_(communicator), flight_(std::move(flight)) {}
  void wait() override {
    if (flight_) communicator_.finish(*flight_);
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
  const c10::cuda::CUDAGuard guard(device());
  return std::make_unique<NcclBroadcast>(
      *this, link_->launch(buffers, root, what, timeout(), [this] { return peer_abandoned(); }));
}

void NcclCommunicator::finish(const NcclFlight& flight) {
  require_healthy();
  auto next_look = Clock::now() + kControlInterval;
  for (;;) {
    if (const auto failure = link_->failure()) {
      throw CommError(abandon(describe(*failure)));
    }
    if (has_landed(flight)) break;
    if (Clock::now() > next_look) {
      if (peer_abandoned()) throw CommError(abandon(describe({flight.what, "a peer gave up"})));
      next_look = Clock::now() + kControlInterval;
    }
    std::this_thread::sleep_for(kNap);
  }
  // An abort ends flights as well: one that ended while the link failed is none that landed.
  if (const auto failure = link_->failure()) throw CommError(abandon(describe(*failure)));
}

}  // namespace

std::unique_ptr<Communicator> detail::wrap_nccl(std::unique_ptr<Communicator> control,
                                                at::Device device, ncclComm_t comm,
                                                NcclLink::Ownership ownership,
                                                std::optional<c10::Stream> lane) {
  return std::make_unique<NcclCommunicator>(
      std::move(control), device, std::make_unique<NcclLink>(comm, device, ownership, lane));
}

}  // namespace fakescore
