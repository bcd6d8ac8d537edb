#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fakescore/comm/communicator.hpp"

namespace fakescore::testing {

/// Where a rank is struck: at its control messages or bulk operations of a phase.
struct Fault {
  std::string phase;  ///< the `what` of a control message, or "bulk"
  std::function<void()> strike;

  void strike_at(const std::string& reached) const {
    if (reached == phase) strike();
  }
};

/// Passes every call on to a real control plane, and strikes before those of the fault's phase.
class FaultyControl : public ControlPlane {
 public:
  FaultyControl(std::shared_ptr<ControlPlane> inner, Fault fault)
      : ControlPlane(*inner), inner_(std::move(inner)), fault_(std::move(fault)) {}

  Comparison compare(const std::string& value, const std::string& what) override {
    fault_.strike_at(what);
    return inner_->compare(value, what);
  }
  std::vector<std::string> all_gather(const std::string& message,
                                      const std::string& what) override {
    fault_.strike_at(what);
    return inner_->all_gather(message, what);
  }
  std::string broadcast_message(const std::string& message, int root,
                                const std::string& what) override {
    fault_.strike_at(what);
    return inner_->broadcast_message(message, root, what);
  }
  std::unique_ptr<OwnWork> begin_work(const std::string& what) override {
    return inner_->begin_work(what);
  }
  uint64_t times_heard() const noexcept override { return inner_->times_heard(); }
  bool broken() const noexcept override { return inner_->broken(); }
  ErrorInfo abandon(const std::string& reason) override { return inner_->abandon(reason); }
  bool peer_abandoned() override { return inner_->peer_abandoned(); }

 private:
  std::shared_ptr<ControlPlane> inner_;
  Fault fault_;
};

/// Passes every call on to a real bulk plane, and strikes before an operation if the phase is
/// "bulk".
class FaultyBulk : public BulkPlane {
 public:
  FaultyBulk(std::shared_ptr<BulkPlane> inner, Fault fault)
      : BulkPlane(inner->backend(), inner->device()),
        inner_(std::move(inner)),
        fault_(std::move(fault)) {}

  std::unique_ptr<PendingOperation> start_broadcast(const at::Tensor& buffer, int root,
                                                    const std::string& what) override {
    fault_.strike_at("bulk");
    return inner_->start_broadcast(buffer, root, what);
  }
  std::unique_ptr<PendingOperation> start_broadcast_group(const std::vector<at::Tensor>& buffers,
                                                          int root,
                                                          const std::string& what) override {
    fault_.strike_at("bulk");
    return inner_->start_broadcast_group(buffers, root, what);
  }
  std::unique_ptr<PendingOperation> start_exchange(const Exchange& exchange,
                                                   const std::string& what) override {
    fault_.strike_at("bulk");
    return inner_->start_exchange(exchange, what);
  }
  void break_off(const std::string& reason) noexcept override { inner_->break_off(reason); }

 private:
  std::shared_ptr<BulkPlane> inner_;
  Fault fault_;
};

/// A communicator over the planes of a real one, each of which strikes.
inline std::unique_ptr<Communicator> make_faulty(const Communicator& real, const Fault& fault) {
  std::shared_ptr<BulkPlane> gpu;
  if (real.gpu_plane()) gpu = std::make_shared<FaultyBulk>(real.gpu_plane(), fault);
  return std::make_unique<Communicator>(
      std::make_shared<FaultyControl>(real.control_plane(), fault),
      std::make_shared<FaultyBulk>(real.host_plane(), fault), std::move(gpu));
}

}  // namespace fakescore::testing
