// Bulk data over a c10d process group of the host job; control messages over a host communicator.
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <functional>
#include <list>

#include "comm/controlled_communicator.hpp"
#include "comm/side_thread.hpp"
#include "error/torch_error.hpp"
#include "fakescore/comm/adopt_c10d.hpp"

namespace fakescore {
namespace {

using detail::Deadline;

/// A broadcast that the group has begun.
struct GroupBulk {
  std::string what;
  std::vector<at::Tensor> buffers;
  c10::intrusive_ptr<c10d::Work> work;
};

class ProcessGroupCommunicator : public detail::ControlledCommunicator {
 public:
  ProcessGroupCommunicator(c10::intrusive_ptr<c10d::ProcessGroup> group, at::Device device,
                           std::shared_ptr<Communicator> control, const AdoptOptions& options)
      : ControlledCommunicator(control, "process group over " + control->backend(), device,
                               "process group"),
        group_(std::move(group)),
        options_(options) {}
  ~ProcessGroupCommunicator() override {
    if (!broken() || aborted_) return;
    // The group may still read and write them.
    static_cast<void>(std::make_unique<decltype(in_flight_)>(std::move(in_flight_)).release());
  }

  void finish(const std::shared_ptr<GroupBulk>& bulk);

 private:
  std::unique_ptr<PendingBroadcast> start_bulk(const at::Tensor& buffer, int root,
                                               const std::string& what) override;
  void begin(const std::shared_ptr<GroupBulk>& bulk, int root);
  void poll_in_time(const std::string& what, const std::function<bool()>& is_done);
  void break_data_plane(const std::string& reason) noexcept override;

  c10::intrusive_ptr<c10d::ProcessGroup> group_;
  AdoptOptions options_;
  bool aborted_ = false;
  std::list<std::shared_ptr<GroupBulk>> in_flight_;
  detail::SideThread thread_;
};

class ProcessGroupBroadcast : public PendingBroadcast {
 public:
  ProcessGroupBroadcast(ProcessGroupCommunicator& communicator, std::shared_ptr<GroupBulk> bulk)
      : communicator_(communicator), bulk_(std::move(bulk)) {}
  void wait() override {
    if (bulk_) communicator_.finish(bulk_);
    bulk_.reset();
  }

 private:
  ProcessGroupCommunicator& communicator_;
  std::shared_ptr<GroupBulk> bulk_;
};

std::unique_ptr<PendingBroadcast> ProcessGroupCommunicator::start_bulk(const at::Tensor& buffer,
                                                                       int root,
                                                                       const std::string& what) {
  if (buffer.numel() == 0) return std::make_unique<ProcessGroupBroadcast>(*this, nullptr);
  auto bulk = std::make_shared<GroupBulk>(GroupBulk{what, {buffer}, {}});
  in_flight_.push_back(bulk);
  try {
    begin(bulk, root);
    // On a GPU: the calling thread's stream goes on once the broadcast has ended.
    if (!buffer.is_cpu()) bulk->work->synchronize();
  } catch (const CommError&) {
    throw;
  } catch (const std::exception& error) {
    lose(what, detail::describe(error));
  }
  return std::make_unique<ProcessGroupBroadcast>(*this, std::move(bulk));
}

/// A group makes its connections with its first broadcast, and waits there for a lost peer.
void ProcessGroupCommunicator::begin(const std::shared_ptr<GroupBulk>& bulk, int root) {
  c10d::BroadcastOptions options;
  options.rootRank = root;
  options.timeout = timeout();
  std::optional<c10::Stream> current;
  if (!device().is_cpu()) {
    current = c10::impl::VirtualGuardImpl(device().type()).getStream(device());
  }
  thread_.start([group = group_, bulk, options, current] {
    const c10::OptionalStreamGuard guard(current);
    bulk->work = group->broadcast(bulk->buffers, options);
  });
  poll_in_time(bulk->what, [&] { return thread_.ended_within(std::chrono::milliseconds(0)); });
}

void ProcessGroupCommunicator::poll_in_time(const std::string& what,
                                            const std::function<bool()>& is_done) {
  Deadline deadline(timeout());
  uint64_t heard = times_heard();
  poll_until(
      [&] {
        if (is_done()) return true;
        if (heard != times_heard()) deadline.hear_of_work();
        heard = times_heard();
        if (deadline.passed()) lose(what, "no progress in time");
        return false;
      },
      what);
}

void ProcessGroupCommunicator::finish(const std::shared_ptr<GroupBulk>& bulk) {
  require_healthy();
  try {
    poll_in_time(bulk->what, [&] { return bulk->work->isCompleted(); });
    if (const auto failure = bulk->work->exception()) std::rethrow_exception(failure);
  } catch (const CommError&) {
    throw;
  } catch (const std::exception& error) {
    lose(bulk->what, detail::describe(error));
  }
  in_flight_.remove(bulk);
}

void ProcessGroupCommunicator::break_data_plane(const std::string&) noexcept {
  if (!options_.abort_on_failure) return;
  try {
    group_->abort();
    aborted_ = true;
  } catch (const std::exception&) {
    return;  // a group that cannot be aborted is left as it is
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
  if (backend == "nccl") return;
  throw ConfigError("process group", "has the backend " + backend + " for " + device.str(),
                    "pass a group with NCCL for GPUs, or the device cpu");
}

}  // namespace

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
    if (!group->getStore()) {
      throw ConfigError("process group", "has no store to carry messages",
                        "pass a control communicator");
    }
    control = make_store_communicator(group->getStore(), group->getRank(), group->getSize(),
                                      "process_group", timeout);
  }
  return std::make_unique<ProcessGroupCommunicator>(std::move(group), device, std::move(control),
                                                    options);
}

}  // namespace fakescore
