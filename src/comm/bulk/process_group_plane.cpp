// Bulk data over a c10d process group of the host job.
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <functional>
#include <list>

#include "comm/bulk/controlled_plane.hpp"
#include "comm/bulk/shared_memory/shared_backend.hpp"
#include "comm/control/side_thread.hpp"
#include "error/torch_error.hpp"
#include "fakescore/comm/adopt_c10d.hpp"

namespace fakescore {
namespace {

using detail::Deadline;

/// An operation that the group has begun.
struct GroupOperation {
  std::string what;
  std::vector<at::Tensor> buffers;
  c10::intrusive_ptr<c10d::Work> work;
};

/// Bytes by rank, as c10d has them.
std::vector<int64_t> splits(const std::vector<Parcel>& parcels, int world_size) {
  std::vector<int64_t> bytes(static_cast<size_t>(world_size));
  for (const Parcel& parcel : parcels) bytes[static_cast<size_t>(parcel.rank)] = parcel.bytes;
  return bytes;
}

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

  std::unique_ptr<PendingOperation> start_broadcast(const at::Tensor& buffer, int root,
                                                    const std::string& what) override;
  std::unique_ptr<PendingOperation> start_exchange(const Exchange& exchange,
                                                   const std::string& what) override;
  void break_off(const std::string& reason) noexcept override;
  void finish(const std::shared_ptr<GroupOperation>& operation);

 private:
  using Begin =
      std::function<c10::intrusive_ptr<c10d::Work>(c10d::ProcessGroup&, std::vector<at::Tensor>&)>;

  std::unique_ptr<PendingOperation> start(std::vector<at::Tensor> buffers, const std::string& what,
                                          const Begin& begin);
  void begin_in_time(const std::shared_ptr<GroupOperation>& operation, const Begin& begin);

  c10::intrusive_ptr<c10d::ProcessGroup> group_;
  AdoptOptions options_;
  bool aborted_ = false;
  std::list<std::shared_ptr<GroupOperation>> in_flight_;
  detail::SideThread thread_;
};

using PendingGroupOperation = detail::PendingOnPlane<ProcessGroupPlane, GroupOperation>;

std::unique_ptr<PendingOperation> ProcessGroupPlane::start_broadcast(const at::Tensor& buffer,
                                                                     int root,
                                                                     const std::string& what) {
  require_healthy();
  require_broadcast(buffer, root, what);
  if (buffer.numel() == 0) return std::make_unique<PendingGroupOperation>(*this, nullptr);
  c10d::BroadcastOptions options;
  options.rootRank = root;
  options.timeout = control().timeout();
  return start({buffer}, what,
               [options](c10d::ProcessGroup& group, std::vector<at::Tensor>& buffers) {
                 return group.broadcast(buffers, options);
               });
}

/// From torch 2.15 on it has another name, and the old one is deprecated.
template <typename Group>
c10::intrusive_ptr<c10d::Work> all_to_all(Group& group, std::vector<at::Tensor>& buffers,
                                          std::vector<int64_t>& receives,
                                          std::vector<int64_t>& sends,
                                          const c10d::AllToAllOptions& options) {
  if constexpr (requires {
                  group.all_to_all_single(buffers[0], buffers[1], receives, sends, options);
                }) {
    return group.all_to_all_single(buffers[0], buffers[1], receives, sends, options);
  } else {
    return group.alltoall_base(buffers[0], buffers[1], receives, sends, options);
  }
}

/// A group has it as a collective: who has no part in it takes part all the same.
std::unique_ptr<PendingOperation> ProcessGroupPlane::start_exchange(const Exchange& exchange,
                                                                    const std::string& what) {
  require_healthy();
  require_exchange(exchange, what);
  const int world_size = control().world_size();
  c10d::AllToAllOptions options;
  options.timeout = control().timeout();
  return start({exchange.incoming, exchange.outgoing}, what,
               [options, receives = splits(exchange.receives, world_size),
                sends = splits(exchange.sends, world_size)](
                   c10d::ProcessGroup& group, std::vector<at::Tensor>& buffers) mutable {
                 return all_to_all(group, buffers, receives, sends, options);
               });
}

std::unique_ptr<PendingOperation> ProcessGroupPlane::start(std::vector<at::Tensor> buffers,
                                                           const std::string& what,
                                                           const Begin& begin) {
  auto operation = std::make_shared<GroupOperation>(GroupOperation{what, std::move(buffers), {}});
  in_flight_.push_back(operation);
  try {
    begin_in_time(operation, begin);
    // On a GPU: the calling thread's stream goes on once the operation has ended.
    if (!device().is_cpu()) operation->work->synchronize();
  } catch (const CommError&) {
    throw;
  } catch (const std::exception& error) {
    lose(what, detail::describe(error));
  }
  return std::make_unique<PendingGroupOperation>(*this, std::move(operation));
}

/// A group makes its connections with its first operation, and waits there for a lost peer.
void ProcessGroupPlane::begin_in_time(const std::shared_ptr<GroupOperation>& operation,
                                      const Begin& begin) {
  std::optional<c10::Stream> current;
  if (!device().is_cpu()) {
    current = c10::impl::VirtualGuardImpl(device().type()).getStream(device());
  }
  thread_.start([group = group_, operation, begin, current] {
    const c10::OptionalStreamGuard guard(current);
    operation->work = begin(*group, operation->buffers);
  });
  Deadline deadline(control().timeout());
  poll_in_time([&] { return thread_.ended_within(std::chrono::milliseconds(0)); }, deadline,
               operation->what);
}

void ProcessGroupPlane::finish(const std::shared_ptr<GroupOperation>& operation) {
  require_healthy();
  try {
    Deadline deadline(control().timeout());
    poll_in_time([&] { return operation->work->isCompleted(); }, deadline, operation->what);
    if (const auto failure = operation->work->exception()) std::rethrow_exception(failure);
  } catch (const CommError&) {
    throw;
  } catch (const std::exception& error) {
    lose(operation->what, detail::describe(error));
  }
  in_flight_.remove(operation);
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

std::unique_ptr<Communicator> make_group_control(const c10d::ProcessGroup& group,
                                                 std::chrono::milliseconds timeout) {
  const auto store = store_of(group);
  if (!store) {
    throw ConfigError("process group", "has no store to carry messages",
                      "make it by torch.distributed's init_process_group or new_group, or pass a "
                      "control communicator");
  }
  return make_store_communicator(store, group.getRank(), group.getSize(), "process_group", timeout);
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
  if (!control) control = make_group_control(*group, timeout);
  control = share_host_memory(std::move(control));
  const bool is_shared = detail::shares_memory(control->host_plane()->backend());
  if (device.is_cpu() && is_shared) {
    return std::make_unique<Communicator>(control->control_plane(), control->host_plane());
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
