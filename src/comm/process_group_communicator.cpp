// Bulk data over a c10d process group of the host job; control messages over a host communicator.
#include <algorithm>
#include <list>
#include <thread>

#include "comm/base_communicator.hpp"
#include "fakescore/comm/adopt_c10d.hpp"

namespace fakescore {
namespace {

using detail::Clock;

constexpr std::chrono::microseconds kNap{50};
constexpr std::chrono::milliseconds kControlInterval{100};

/// A broadcast that the group has begun.
struct Bulk {
  std::string what;
  std::vector<at::Tensor> buffers;
  c10::intrusive_ptr<c10d::Work> work;
};

class ProcessGroupCommunicator : public detail::BaseCommunicator {
 public:
  ProcessGroupCommunicator(c10::intrusive_ptr<c10d::ProcessGroup> group, at::Device device,
                           std::unique_ptr<Communicator> control, const AdoptOptions& options)
      : BaseCommunicator(control->rank(), control->world_size(), control->timeout(),
                         "process group over " + control->backend(), device),
        group_(std::move(group)),
        control_(std::move(control)),
        options_(options) {}
  ~ProcessGroupCommunicator() override {
    // The group may still read and write them.
    if (broken()) new std::list<std::shared_ptr<Bulk>>(std::move(in_flight_));
  }

  std::vector<std::string> all_gather(const std::string& message,
                                      const std::string& what) override {
    return on_control([&] { return control_->all_gather(message, what); });
  }
  std::string broadcast_message(const std::string& message, int root,
                                const std::string& what) override {
    return on_control([&] { return control_->broadcast_message(message, root, what); });
  }
  std::unique_ptr<PendingBroadcast> start_broadcast(const at::Tensor& buffer, int root,
                                                    const std::string& what) override;
  ErrorInfo abandon(const std::string& reason) override;
  bool peer_abandoned() override {
    return on_control([&] { return control_->peer_abandoned(); });
  }

  void finish(const std::shared_ptr<Bulk>& bulk);

 private:
  /// What breaks the control plane breaks this communicator.
  template <typename Call>
  auto on_control(Call call) -> decltype(call()) {
    require_healthy();
    control_->set_timeout(timeout());
    try {
      return call();
    } catch (const CommError& error) {
      abort_group();
      fail(error.info());
    }
  }
  void abort_group() noexcept;
  [[noreturn]] void lose(const std::string& what, const std::string& reason) {
    throw CommError(abandon("process group broadcast of " + what + ": " + reason));
  }

  c10::intrusive_ptr<c10d::ProcessGroup> group_;
  std::unique_ptr<Communicator> control_;
  AdoptOptions options_;
  std::list<std::shared_ptr<Bulk>> in_flight_;
};

class ProcessGroupBroadcast : public PendingBroadcast {
 public:
  ProcessGroupBroadcast(ProcessGroupCommunicator& communicator, std::shared_ptr<Bulk> bulk)
      : communicator_(communicator), bulk_(std::move(bulk)) {}
  void wait() override {
    if (bulk_) communicator_.finish(bulk_);
    bulk_.reset();
  }

 private:
  ProcessGroupCommunicator& communicator_;
  std::shared_ptr<Bulk> bulk_;
};

std::unique_ptr<PendingBroadcast> ProcessGroupCommunicator::start_broadcast(
    const at::Tensor& buffer, int root, const std::string& what) {
  require_healthy();
  require_root(root, what);
  // A group of GPUs need not have a backend for host memory.
  if (buffer.defined() && buffer.is_cpu() && !device().is_cpu()) {
    return on_control([&] { return control_->start_broadcast(buffer, root, what); });
  }
  require_buffer(buffer, device(), what);
  if (buffer.numel() == 0) return std::make_unique<ProcessGroupBroadcast>(*this, nullptr);
  auto bulk = std::make_shared<Bulk>(Bulk{what, {buffer}, {}});
  c10d::BroadcastOptions options;
  options.rootRank = root;
  options.timeout = timeout();
  in_flight_.push_back(bulk);
  try {
    bulk->work = group_->broadcast(bulk->buffers, options);
    // On a GPU: the calling thread's stream goes on once the broadcast has ended.
    if (!buffer.is_cpu()) bulk->work->synchronize();
  } catch (const std::exception& error) {
    lose(what, error.what());
  }
  return std::make_unique<ProcessGroupBroadcast>(*this, std::move(bulk));
}

void ProcessGroupCommunicator::finish(const std::shared_ptr<Bulk>& bulk) {
  require_healthy();
  const auto deadline = Clock::now() + timeout();
  auto next_look = Clock::now() + kControlInterval;
  try {
    while (!bulk->work->isCompleted()) {
      if (Clock::now() > deadline) lose(bulk->what, "no progress in time");
      if (Clock::now() > next_look) {
        if (peer_abandoned()) lose(bulk->what, "a peer gave up");
        next_look = Clock::now() + kControlInterval;
      }
      std::this_thread::sleep_for(kNap);
    }
    if (const auto failure = bulk->work->exception()) std::rethrow_exception(failure);
  } catch (const CommError&) {
    throw;
  } catch (const std::exception& error) {
    lose(bulk->what, error.what());
  }
  in_flight_.remove(bulk);
}

ErrorInfo ProcessGroupCommunicator::abandon(const std::string& reason) {
  return failure_of([&] {
    // The census first: the abort may take longer than the others listen.
    const ErrorInfo verdict = control_->abandon(reason);
    abort_group();
    fail(verdict);
  });
}

void ProcessGroupCommunicator::abort_group() noexcept {
  if (!options_.abort_on_failure) return;
  try {
    group_->abort();
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
  throw ConfigError({ErrorCode::kConfig, -1, "", "process group",
                     "has the backend " + backend + " for " + device.str(),
                     "pass a group with NCCL for GPUs, or the device cpu"});
}

}  // namespace

std::unique_ptr<Communicator> adopt_process_group(c10::intrusive_ptr<c10d::ProcessGroup> group,
                                                  at::Device device,
                                                  std::unique_ptr<Communicator> control,
                                                  std::chrono::milliseconds timeout,
                                                  const AdoptOptions& options) {
  if (!group) {
    throw ConfigError({ErrorCode::kConfig, -1, "", "process group", "is null",
                       "pass a group that is initialised and has this rank in it"});
  }
  if (!device.is_cpu()) require_nccl(*group, device);
  if (!control) {
    if (!group->getStore()) {
      throw ConfigError({ErrorCode::kConfig, -1, "", "process group",
                         "has no store to carry messages", "pass a control communicator"});
    }
    control = make_store_communicator(group->getStore(), group->getRank(), group->getSize(),
                                      "process_group", timeout);
  }
  return std::make_unique<ProcessGroupCommunicator>(std::move(group), device, std::move(control),
                                                    options);
}

}  // namespace fakescore
