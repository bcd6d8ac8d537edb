#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fakescore/comm/communicator.hpp"

namespace fakescore::testing {

/// Where a rank is struck: at its control messages or bulk broadcasts of a phase.
struct Fault {
  std::string phase;  ///< the `what` of a control message, or "bulk"
  std::function<void()> strike;
};

/// Passes every call on to a real communicator, and strikes before those of the fault's phase.
class FaultyCommunicator : public Communicator {
 public:
  FaultyCommunicator(std::shared_ptr<Communicator> inner, Fault fault)
      : Communicator(inner->rank(), inner->world_size(), inner->timeout(), inner->backend(),
                     inner->device()),
        inner_(std::move(inner)),
        fault_(std::move(fault)) {}

  bool broken() const noexcept override { return inner_->broken(); }
  std::unique_ptr<OwnWork> begin_work(const std::string& what) override {
    return inner_->begin_work(what);
  }
  uint64_t times_heard() const noexcept override { return inner_->times_heard(); }

  Comparison compare(const std::string& value, const std::string& what) override {
    strike_at(what);
    return inner_->compare(value, what);
  }
  std::vector<std::string> all_gather(const std::string& message,
                                      const std::string& what) override {
    strike_at(what);
    return inner_->all_gather(message, what);
  }
  std::string broadcast_message(const std::string& message, int root,
                                const std::string& what) override {
    strike_at(what);
    return inner_->broadcast_message(message, root, what);
  }
  std::unique_ptr<PendingBroadcast> start_broadcast(const at::Tensor& buffer, int root,
                                                    const std::string& what) override {
    strike_at("bulk");
    return inner_->start_broadcast(buffer, root, what);
  }
  std::unique_ptr<PendingBroadcast> start_broadcast_group(const std::vector<at::Tensor>& buffers,
                                                          int root,
                                                          const std::string& what) override {
    strike_at("bulk");
    return inner_->start_broadcast_group(buffers, root, what);
  }
  ErrorInfo abandon(const std::string& reason) override { return inner_->abandon(reason); }
  bool peer_abandoned() override { return inner_->peer_abandoned(); }

 private:
  void strike_at(const std::string& phase) {
    if (phase == fault_.phase) fault_.strike();
  }

  std::shared_ptr<Communicator> inner_;
  Fault fault_;
};

}  // namespace fakescore::testing
