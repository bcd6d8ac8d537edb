#include "comm/bulk/controlled_plane.hpp"

#include <utility>

#include "comm/arguments.hpp"

namespace fakescore::detail {

ControlledPlane::ControlledPlane(std::shared_ptr<ControlPlane> control, std::string backend,
                                 at::Device device, std::string name)
    : BulkPlane(std::move(backend), device), control_(std::move(control)), name_(std::move(name)) {}

void ControlledPlane::require_healthy() {
  if (!control_->broken()) return;
  const ErrorInfo verdict = control_->abandon("");
  break_off(verdict.message);
  throw CommError(verdict);
}

void ControlledPlane::require_broadcast(const at::Tensor& buffer, int root,
                                        const std::string& what) const {
  require_root(root, control_->world_size(), what);
  require_buffer(buffer, device(), backend(), what);
}

void ControlledPlane::require_exchange(const Exchange& exchange, const std::string& what) const {
  detail::require_exchange(exchange, *this, control_->rank(), control_->world_size(), what);
}

bool ControlledPlane::peer_abandoned() {
  try {
    return control_->peer_abandoned();
  } catch (const CommError&) {
    break_off("the control plane lost a peer");
    throw;
  }
}

void ControlledPlane::lose(const std::string& what, const std::string& reason) {
  // The census first: to let go of this plane may take longer than the others listen.
  const std::string text = reason.empty() ? "" : name_ + " transfer of " + what + ": " + reason;
  const ErrorInfo verdict = control_->abandon(text);
  break_off(text);
  throw CommError(verdict);
}

}  // namespace fakescore::detail
