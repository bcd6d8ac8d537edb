#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "comm/control/periodic.hpp"
#include "fakescore/comm/bulk_plane.hpp"
#include "fakescore/comm/control_plane.hpp"

namespace fakescore::detail {

/// A bulk plane that leaves messages to a control plane of its own choice: it polls that while it
/// waits, and breaks it where bulk data cannot go on.
class ControlledPlane : public BulkPlane {
 protected:
  /// `backend` is the name for reports, `name` the one for errors.
  ControlledPlane(std::shared_ptr<ControlPlane> control, std::string backend, at::Device device,
                  std::string name);

  ControlPlane& control() const noexcept { return *control_; }

  /// Throws what broke the control plane, if it is broken.
  void require_healthy();
  void require_broadcast(const at::Tensor& buffer, int root, const std::string& what) const;

  void require_exchange(const Exchange& exchange, const std::string& what) const;

  /// As ControlPlane has it; lets go what waits here where the control plane breaks.
  virtual bool peer_abandoned();

  /// For a plane that failed while it moved `what`; without a reason where a peer gave up.
  [[noreturn]] void lose(const std::string& what, const std::string& reason);

  /// Polls until `done` says so, and looks after the control plane meanwhile.
  template <typename Done>
  void poll_until(Done done, const std::string& what) {
    constexpr std::chrono::microseconds kNap{50};
    Periodic control_look;
    const ControlPlane::Waiting waiting(*control_);
    while (!done()) {
      if (control_look.is_due() && peer_abandoned()) lose(what, "");
      std::this_thread::sleep_for(kNap);
    }
  }

  /// The same within a deadline, which `done` may renew: signs of a peer's work begin its time
  /// anew.
  template <typename Done>
  void poll_in_time(Done done, Deadline& deadline, const std::string& what) {
    uint64_t heard = control_->times_heard();
    poll_until(
        [&] {
          if (done()) return true;
          if (heard != control_->times_heard()) deadline.hear_of_work();
          heard = control_->times_heard();
          if (deadline.passed()) lose(what, "no progress in time");
          return false;
        },
        what);
  }

 private:
  std::shared_ptr<ControlPlane> control_;
  std::string name_;
};

/// An operation that `plane.finish` brings to its end; a null one has nothing left to do.
template <typename Plane, typename Operation>
class PendingOnPlane : public PendingOperation {
 public:
  PendingOnPlane(Plane& plane, std::shared_ptr<Operation> operation)
      : plane_(plane), operation_(std::move(operation)) {}
  void wait() override {
    if (operation_) plane_.finish(operation_);
    operation_.reset();
  }

 private:
  Plane& plane_;
  std::shared_ptr<Operation> operation_;
};

}  // namespace fakescore::detail
