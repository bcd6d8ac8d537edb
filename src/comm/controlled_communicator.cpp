#include "comm/controlled_communicator.hpp"

#include <utility>

namespace fakescore::detail {

ControlledCommunicator::ControlledCommunicator(std::shared_ptr<Communicator> control,
                                               std::string backend, at::Device device,
                                               std::string data_plane)
    : BaseCommunicator(control->rank(), control->world_size(), control->timeout(),
                       std::move(backend), device),
      control_(std::move(control)),
      host_(dynamic_cast<const BaseCommunicator*>(control_.get())),
      data_plane_(std::move(data_plane)) {}

Comparison ControlledCommunicator::compare(const std::string& value, const std::string& what) {
  return on_control([&](Communicator& control) { return control.compare(value, what); });
}

std::vector<std::string> ControlledCommunicator::all_gather(const std::string& message,
                                                            const std::string& what) {
  return on_control([&](Communicator& control) { return control.all_gather(message, what); });
}

std::string ControlledCommunicator::broadcast_message(const std::string& message, int root,
                                                      const std::string& what) {
  return on_control(
      [&](Communicator& control) { return control.broadcast_message(message, root, what); });
}

std::unique_ptr<PendingBroadcast> ControlledCommunicator::start_broadcast(const at::Tensor& buffer,
                                                                          int root,
                                                                          const std::string& what) {
  if (buffer.defined() && buffer.is_cpu() && !device().is_cpu()) {
    return on_control(
        [&](Communicator& control) { return control.start_broadcast(buffer, root, what); });
  }
  require_healthy();
  require_root(root, what);
  require_buffer(buffer, device(), what);
  return start_bulk(buffer, root, what);
}

ErrorInfo ControlledCommunicator::abandon(const std::string& reason) {
  // The census first: to let go of the data plane may take longer than the others listen.
  const ErrorInfo verdict = control_->abandon(reason);
  break_data_plane(reason);
  return failure_of([&] { fail(verdict); });
}

bool ControlledCommunicator::peer_abandoned() {
  return on_control([](Communicator& control) { return control.peer_abandoned(); });
}

std::unique_ptr<OwnWork> ControlledCommunicator::begin_work(const std::string& what) {
  // It must be told when this rank waits, which a stranger's cannot be.
  if (host_ == nullptr || broken()) return nullptr;
  control_->set_timeout(timeout());
  return control_->begin_work(what);
}

void ControlledCommunicator::lose(const std::string& what, const std::string& reason) {
  throw CommError(
      abandon(reason.empty() ? "" : data_plane_ + " broadcast of " + what + ": " + reason));
}

}  // namespace fakescore::detail
