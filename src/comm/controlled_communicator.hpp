#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "comm/base_communicator.hpp"
#include "comm/periodic.hpp"

namespace fakescore::detail {

/// A communicator with a data plane of its own that leaves messages, and host memory of a GPU job,
/// to another communicator, its control plane. What breaks one of the two breaks both.
class ControlledCommunicator : public BaseCommunicator {
 public:
  Comparison compare(const std::string& value, const std::string& what) override;
  std::vector<std::string> all_gather(const std::string& message, const std::string& what) override;
  std::string broadcast_message(const std::string& message, int root,
                                const std::string& what) override;
  std::unique_ptr<PendingBroadcast> start_broadcast(const at::Tensor& buffer, int root,
                                                    const std::string& what) override;
  bool broken() const noexcept override { return BaseCommunicator::broken() || control_->broken(); }
  ErrorInfo abandon(const std::string& reason) override;
  bool peer_abandoned() override;
  std::unique_ptr<OwnWork> begin_work(const std::string& what) override;
  uint64_t times_heard() const noexcept override { return control_->times_heard(); }

 protected:
  /// `backend` is the name for reports, `data_plane` the one for errors.
  ControlledCommunicator(std::shared_ptr<Communicator> control, std::string backend,
                         at::Device device, std::string data_plane);

  /// Starts a broadcast over the data plane; arguments are checked.
  virtual std::unique_ptr<PendingBroadcast> start_bulk(const at::Tensor& buffer, int root,
                                                       const std::string& what) = 0;
  /// Lets go what waits on the data plane.
  virtual void break_data_plane(const std::string& reason) noexcept = 0;

  Communicator& control() noexcept { return *control_; }
  /// Whose waiting it is when this one waits: that of whoever says that this rank is at work.
  const BaseCommunicator& who_waits() const noexcept { return host_ != nullptr ? *host_ : *this; }

  /// For a data plane that failed while it moved `what`; without a reason where a peer gave up.
  [[noreturn]] void lose(const std::string& what, const std::string& reason);

  /// Polls until `done` says so, and looks after the control plane meanwhile.
  template <typename Done>
  void poll_until(Done done, const std::string& what) {
    constexpr std::chrono::microseconds kNap{50};
    Periodic control_look;
    const Waiting waiting(who_waits());
    while (!done()) {
      if (control_look.is_due() && peer_abandoned()) lose(what, "");
      std::this_thread::sleep_for(kNap);
    }
  }

 private:
  template <typename Call>
  auto on_control(Call call) -> decltype(call(std::declval<Communicator&>())) {
    require_healthy();
    control_->set_timeout(timeout());
    try {
      return call(*control_);
    } catch (const CommError& error) {
      break_data_plane("the control plane lost a peer");
      fail(error.info());
    }
  }

  std::shared_ptr<Communicator> control_;
  const BaseCommunicator* host_;  ///< the control plane, where it is one of ours
  std::string data_plane_;
};

}  // namespace fakescore::detail
