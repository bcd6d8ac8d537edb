// Bulk data over a c10d process group of the host job.
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <functional>
#include <list>

#include "comm/bulk/controlled_plane.hpp"
#include "comm/control/side_thread.hpp"
#include "error/torch_error.hpp"
#include "fakescore/comm/adopt_c10d.hpp"

namespace fakescore {
namespace {

using detail::Deadline;

/// A broadcast that the group has begun.
struct GroupBroadcast {
  std::string what;
  std::vector<at::Tensor> buffers;
  c10::intrusive_ptr<c10d::Work> work;
};

class ProcessGroupPlane : public detail::ControlledPlane {
 public:
  ProcessGroupPlane(c10::intrusive_ptr<c10d::ProcessGroup> group, at::Device device,
                    std::shared_ptr<ControlPlane> control, const AdoptOptions& options)
      : ControlledPlane(control, "process group over " + control->backend(), device,
                        "process group"),
        group_(std::move(group)),
        options_(options) {}
  ~ProcessGroupPlane() override {
    if (!control().broken() || aborted_) return;
    // The group may still read and write them.
    static_cast<void>(std::make_unique<decltype(in_flight_)>(std::move(in_flight_)).release());
  }

  std::unique_ptr<PendingBroadcast> start_broadcast(const at::Tensor& buffer, int root,
                                                    const std::string& what) override;
  void break_off(const std::string& reason) noexcept override;
  void finish(const std::shared_ptr<GroupBroadcast>& broadcast);

 private:
  void begin(const std::shared_ptr<GroupBroadcast>& broadcast, int root);
  void poll_in_time(const std::string& what, const std::function<bool()>& is_done);

  c10::intrusive_ptr<c10d::ProcessGroup> group_;
  AdoptOptions options_;
  bool aborted_ = false;
  std::list<std::shared_ptr<GroupBroadcast>> in_flight_;
  detail::SideThread thread_;
};

using PendingGroupBroadcast = detail::PendingOnPlane<ProcessGroupPlane, GroupBroadcast>;

std::unique_ptr<PendingBroadcast> ProcessGroupPlane::start_broadcast(const at::Tensor& buffer,
                                                                     int root,
                                                                     const std::string& what) {
  require_healthy();
  require_broadcast(buffer, root, what);
  if (buffer.numel() == 0) return std::make_unique<PendingGroupBroadcast>(*this, nullptr);
  auto broadcast = std::make_shared<GroupBroadcast>(GroupBroadcast{what, {buffer}, {}});
  in_flight_.push_back(broadcast);
  try {
    begin(broadcast, root);
    // On a GPU: the calling thread's stream goes on once the broadcast has ended.
    if (!buffer.is_cpu()) broadcast->work->synchronize();
  } catch (const CommError&) {
    throw;
  } catch (const std::exception& error) {
    lose(what, detail::describe(error));
  }
  return std::make_unique<PendingGroupBroadcast>(*this, std::move(broadcast));
}

/// A group makes its connections with its first broadcast, and waits there for a lost peer.
void ProcessGroupPlane::begin(const std::shared_ptr<GroupBroadcast>& broadcast, int root) {
  c10d::BroadcastOptions options;
  options.rootRank = root;
  options.timeout = control().timeout();
  std::optional<c10::Stream> current;
  if (!device().is_cpu()) {
    current = c10::impl::VirtualGuardImpl(device().type()).getStream(device());
  }
  thread_.start([group = group_, broadcast, options, current] {
    const c10::OptionalStreamGuard guard(current);
    broadcast->work = group->broadcast(broadcast->buffers, options);
  });
  poll_in_time(broadcast->what, [&] { return thread_.ended_within(std::chrono::milliseconds(0)); });
}

void ProcessGroupPlane::poll_in_time(const std::string& what,
                                     const std::function<bool()>& is_done) {
  Deadline deadline(control().timeout());
  uint64_t heard = control().times_heard();
  poll_until(
      [&] {
        if (is_done()) return true;
        if (heard != control().times_heard()) deadline.hear_of_work();
        heard = control().times_heard();
        if (deadline.passed()) lose(what, "no progress in time");
        return false;
      },
      what);
}

void ProcessGroupPlane::finish(const std::shared_ptr<GroupBroadcast>& broadcast) {
  require_healthy();
  try {
    poll_in_time(broadcast->what, [&] { return broadcast->work->isCompleted(); });
    if (const auto failure = broadcast->work->exception()) std::rethrow_exception(failure);
  } catch (const CommError&) {
    throw;
  } catch (const std::exception& error) {
    lose(broadcast->what, detail::describe(error));
  }
  in_flight_.remove(broadcast);
}

void ProcessGroupPlane::break_off(const std::string&) noexcept {
  if (!options_.abort_on_failure || aborted_) return;
  try {
    group_->abort();
    aborted_ = true;
  } catch (const std::exception&) {
    return;  // a group that cannot be aborted is left as it is
  }
}

/// A group of a LibTorch that shows its store to derived classes alone.
template <typename Group>
struct WithStore : Group {
  static auto store_of(const Group& group) { return group.*(&WithStore::store_); }
};

template <typename Group>
c10::intrusive_ptr<c10d::Store> store_of(const Group& group) {
  if constexpr (requires { group.getStore(); }) {
    return group.getStore();
  } else {
    return WithStore<Group>::store_of(group);
  }
}

/// Only NCCL's work on GPUs is ordered with the calling thread's stream: Gloo's is not.
void require_nccl(c10d::ProcessGroup& group, at::Device device) {
  std::string backend = "none";
  try {
    backend = group.getBackend(device.type())->getBackendName();
  } catch (const std::exception&) {
    backend = "none";
  }
  // "nccl2" and "nccl-lazy" are other implementations of it, from torch 2.15 on the default one.
  if (backend.starts_with("nccl")) return;
  throw ConfigError("process group", "has the backend " + backend + " for " + device.str(),
                    "pass a group with NCCL for GPUs, or the device cpu");
}

}  // namespace

c10::intrusive_ptr<c10d::Store> group_store(const c10d::ProcessGroup& group) {
  return store_of(group);
}

std::unique_ptr<Communicator> adopt_process_group(c10::intrusive_ptr<c10d::ProcessGroup> group,
                                                  at::Device device,
                                                  std::unique_ptr<Communicator> control,
                                                  std::chrono::milliseconds timeout,
                                                  const AdoptOptions& options) {
  if (!group) {
    throw ConfigError("process group", "is null",
                      "pass a group that is initialised and has this rank in it");
  }
  if (!device.is_cpu()) require_nccl(*group, device);
  if (!control) {
    const auto store = group_store(*group);
    if (!store) {
      throw ConfigError("process group", "has no store to carry messages",
                        "pass a control communicator");
    }
    control = make_store_communicator(store, group->getRank(), group->getSize(), "process_group",
                                      timeout);
  }
  auto plane = std::make_shared<ProcessGroupPlane>(std::move(group), device,
                                                   control->control_plane(), options);
  if (device.is_cpu()) {
    return std::make_unique<Communicator>(control->control_plane(), std::move(plane));
  }
  return std::make_unique<Communicator>(control->control_plane(), control->host_plane(),
                                        std::move(plane));
}

}  // namespace fakescore
