#include "fakescore/comm/communicator.hpp"

#include "comm/bulk/staged_plane.hpp"
#include "fakescore/tensor/cuda.hpp"

namespace fakescore {
namespace {

void require_planes(const ControlPlane* control, const BulkPlane* host, const BulkPlane* gpu) {
  if (control == nullptr || host == nullptr) {
    throw ConfigError("communicator", "needs a control plane, and a bulk plane for host memory",
                      "take those that it has no own ones of from another communicator");
  }
  if (!host->device().is_cpu() || (gpu != nullptr && gpu->device().is_cpu())) {
    throw ConfigError("communicator",
                      "needs its bulk planes on the CPU and on a GPU, in this order",
                      "pass the plane for host memory first");
  }
}

/// A bulk plane of a program's own may not have told the other ranks what it failed of.
template <typename Call>
auto tell_others(ControlPlane& control, Call call) -> decltype(call()) {
  try {
    return call();
  } catch (const CommError& error) {
    if (!control.broken()) control.abandon(error.info().message);
    throw;
  }
}

}  // namespace

Communicator::Communicator(std::shared_ptr<ControlPlane> control, std::shared_ptr<BulkPlane> host,
                           std::shared_ptr<BulkPlane> gpu)
    : control_(std::move(control)), host_(std::move(host)), gpu_(std::move(gpu)) {
  require_planes(control_.get(), host_.get(), gpu_.get());
}

/// A call that finds a peer lost has broken the control plane: the bulk planes hear of it.
template <typename Call>
auto Communicator::guard(Call call) -> decltype(call()) {
  try {
    return call();
  } catch (const CommError&) {
    break_off("the control plane lost a peer");
    throw;
  }
}

Comparison Communicator::compare(const std::string& value, const std::string& what) {
  return guard([&] { return control_->compare(value, what); });
}

std::vector<std::string> Communicator::all_gather(const std::string& message,
                                                  const std::string& what) {
  return guard([&] { return control_->all_gather(message, what); });
}

std::string Communicator::broadcast_message(const std::string& message, int root,
                                            const std::string& what) {
  return guard([&] { return control_->broadcast_message(message, root, what); });
}

std::unique_ptr<OwnWork> Communicator::begin_work(const std::string& what) {
  return control_->begin_work(what);
}

bool Communicator::peer_abandoned() {
  return guard([&] { return control_->peer_abandoned(); });
}

ErrorInfo Communicator::abandon(const std::string& reason) {
  // The census first: to let go of the bulk planes may take longer than the others listen.
  ErrorInfo verdict = control_->abandon(reason);
  break_off(reason);
  return verdict;
}

void Communicator::break_off(const std::string& reason) noexcept {
  host_->break_off(reason);
  if (gpu_) gpu_->break_off(reason);
  for (const auto& plane : staged_) plane->break_off(reason);
}

BulkPlane& Communicator::plane_of(const at::Tensor& buffer) const noexcept {
  return buffer.defined() && buffer.is_cpu() ? *host_ : main_plane();
}

std::unique_ptr<PendingOperation> Communicator::start_broadcast(const at::Tensor& buffer, int root,
                                                                const std::string& what) {
  return guard([&] {
    return tell_others(*control_,
                       [&] { return plane_of(buffer).start_broadcast(buffer, root, what); });
  });
}

std::unique_ptr<PendingOperation> Communicator::start_broadcast_group(
    const std::vector<at::Tensor>& buffers, int root, const std::string& what) {
  BulkPlane& plane = buffers.empty() ? main_plane() : plane_of(buffers.front());
  return guard([&] {
    return tell_others(*control_, [&] { return plane.start_broadcast_group(buffers, root, what); });
  });
}

std::unique_ptr<PendingOperation> Communicator::start_exchange(const Exchange& exchange,
                                                               const std::string& what) {
  BulkPlane& plane = plane_of(exchange.outgoing);
  return guard(
      [&] { return tell_others(*control_, [&] { return plane.start_exchange(exchange, what); }); });
}

BulkPlane& Communicator::bulk(at::Device device) {
  if (device.is_cpu()) return *host_;
  if (device == this->device()) return *gpu_;
  load_cuda();
  if (!device.has_index()) {
    throw ConfigError("device " + device.str(), "has no index",
                      "give this rank's GPU with its index, such as cuda:0");
  }
  if (gpu_) {
    throw ConfigError("device " + device.str(),
                      "is not the communicator's device, which is " + gpu_->device().str(),
                      "make the communicator for the GPU that the module is on");
  }
  return staged(device);
}

BulkPlane& Communicator::staged(at::Device device) {
  for (const auto& plane : staged_) {
    if (plane->device() == device) return *plane;
  }
  staged_.push_back(detail::stage_through_host(control_, host_, device));
  return *staged_.back();
}

}  // namespace fakescore
