#pragma once

#include <string>
#include <vector>

#include "comm/arguments.hpp"
#include "comm/control/base_control.hpp"
#include "comm/control/deadline.hpp"
#include "comm/control/meeting.hpp"
#include "fakescore/comm/bulk_plane.hpp"

namespace fakescore::detail {

/// A backend of the host's, which is both planes: it moves bulk data in host memory, and every
/// control call is a meeting of all ranks.
class HostPlanes : public BaseControl, public BulkPlane {
 public:
  using ControlPlane::backend;

  std::vector<std::string> all_gather(const std::string& message,
                                      const std::string& what) override {
    const Step step{CallKind::kAllGather, -1, -1, what};
    auto messages = read([&] { return read_all_gathered(meet(step, message)); });
    hear_of_all(what);
    return messages;
  }

  Comparison compare(const std::string& value, const std::string& what) override {
    const Step step{CallKind::kCompare, -1, -1, what};
    auto found = read([&] { return read_comparison(meet(step, value)); });
    hear_of_all(what);
    return found;
  }

  /// The root need not wait for the others, so that not all ranks hear of all.
  std::string broadcast_message(const std::string& message, int root,
                                const std::string& what) override {
    require_healthy();
    require_root(root, world_size(), what);
    const Step step{CallKind::kBroadcastMessage, root, -1, what};
    return meet(step, rank() == root ? message : std::string());
  }

  /// What waits here looks after the control plane itself.
  void break_off(const std::string&) noexcept override {}

 protected:
  HostPlanes(int rank, int world_size, std::chrono::milliseconds timeout,
             const std::string& backend)
      : BaseControl(rank, world_size, timeout, backend), BulkPlane(backend, at::kCPU) {}

  void require_broadcast(const at::Tensor& buffer, int root, const std::string& what) const {
    require_root(root, world_size(), what);
    require_buffer(buffer, device(), backend(), what);
  }

  Step require_exchange(const Exchange& exchange, const std::string& what) const {
    detail::require_exchange(exchange, *this, rank(), world_size(), what);
    return {CallKind::kExchange, -1, -1, what};
  }

  /// What cannot be read is of another build.
  template <typename Read>
  auto read(Read result) -> decltype(result()) {
    try {
      return result();
    } catch (const MismatchError& error) {
      fail(as_lost_peer(error));
    }
  }

  /// Every rank's message, combined as the step asks for.
  virtual std::string meet(const Step& step, const std::string& message) = 0;
};

}  // namespace fakescore::detail
