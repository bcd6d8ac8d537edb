// Threads of one process as ranks. They meet in slots, one per call number, under one mutex.
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>

#include "comm/control/host_planes.hpp"
#include "fakescore/comm/make_communicator.hpp"

namespace fakescore {
namespace {

using detail::Answers;
using detail::CallKind;
using detail::Clock;
using detail::Deadline;
using detail::Step;

// How often a thread that nobody wakes looks at its deadline.
constexpr std::chrono::milliseconds kLook{100};

struct Call {
  Step step;
  std::string message;
  at::Tensor buffer;          // that others read
  std::vector<Parcel> sends;  // what of it is for whom, of an exchange
};

struct Slot {
  explicit Slot(int world_size)
      : calls(static_cast<size_t>(world_size)), taken(static_cast<size_t>(world_size)) {}
  std::vector<std::optional<Call>> calls;
  int first = -1;  // the rank that came first
  int arrived = 0;
  std::shared_ptr<const std::string> combined;  // once all have come
  std::vector<int> taken;                       // by sender: receivers that have its bytes
  int left = 0;                                 // ranks that need the slot no longer
};

/// A rank at work on a step of its own.
struct OngoingWork {
  std::string what;
  std::shared_ptr<const std::atomic<bool>> waits;  ///< for others, within that step
};

/// Shared by the ranks; every member is guarded by the mutex.
struct LocalWorld {
  explicit LocalWorld(int world_size) : answers(static_cast<size_t>(world_size)) {}
  std::mutex mutex;
  std::condition_variable changed;
  std::map<uint64_t, Slot> slots;
  Answers answers;
  size_t answered = 0;
  std::map<int, OngoingWork> working;
  bool census = false;
  std::optional<ErrorInfo> verdict;
};

/// The slot keeps its messages: where memory runs out here, the next rank combines them.
std::shared_ptr<const std::string> combine_messages(const Step& step, const Slot& slot) {
  std::vector<std::string> messages;
  for (const auto& call : slot.calls) messages.push_back(call->message);
  return std::make_shared<const std::string>(detail::combine(step, std::move(messages)));
}

class LocalPlanes : public detail::HostPlanes {
 public:
  LocalPlanes(std::shared_ptr<LocalWorld> world, int rank, int world_size,
              std::chrono::milliseconds timeout)
      : HostPlanes(rank, world_size, timeout, "local"), world_(std::move(world)) {}

  std::unique_ptr<PendingOperation> start_broadcast(const at::Tensor& buffer, int root,
                                                    const std::string& what) override;
  std::unique_ptr<PendingOperation> start_exchange(const Exchange& exchange,
                                                   const std::string& what) override;
  ErrorInfo abandon(const std::string& reason) override;
  bool peer_abandoned() override;
  std::unique_ptr<OwnWork> begin_work(const std::string& what) override;
  void finish_broadcast(uint64_t number, const Step& step, const at::Tensor& buffer);
  void finish_exchange(uint64_t number, const Step& step, const Exchange& exchange);

 private:
  using Lock = std::unique_lock<std::mutex>;

  std::string meet(const Step& step, const std::string& message) override;
  uint64_t enter(Lock& lock, Call call);
  void leave(uint64_t number);
  void await_receivers(Lock& lock, uint64_t number, const Step& step, int receivers);
  void take(Lock& lock, uint64_t number, const Step& step, int from, std::byte* to, size_t bytes);
  [[noreturn]] void take_census(Lock& lock, const Step& step);
  bool hears_of_work();

  /// Waits for `done` on the call's slot; a verdict, a census or the deadline end it with a throw.
  template <typename Done>
  Slot& await(Lock& lock, uint64_t number, const Step& step, Done done) {
    Slot& slot = world_->slots.at(number);
    const auto over = [&] { return done(slot) || world_->census || world_->verdict; };
    const Waiting waiting(*this);
    Deadline deadline(timeout());
    while (!over() && !deadline.passed()) {
      world_->changed.wait_for(lock, kLook);
      if (hears_of_work()) deadline.hear_of_work();
    }
    if (done(slot)) return slot;
    take_census(lock, step);
  }

  std::shared_ptr<LocalWorld> world_;
  uint64_t next_ = 0;
};

class LocalOperation : public PendingOperation {
 public:
  explicit LocalOperation(std::function<void()> finish) : finish_(std::move(finish)) {}

  void wait() override {
    if (finish_) finish_();
    finish_ = nullptr;
  }

 private:
  std::function<void()> finish_;
};

uint64_t LocalPlanes::enter(Lock& lock, Call call) {
  require_healthy();
  if (world_->verdict) fail(*world_->verdict);
  const uint64_t number = next_++;
  Slot& slot = world_->slots.try_emplace(number, world_size()).first->second;
  if (slot.arrived == 0) slot.first = rank();
  // All that came before are like the first.
  const auto& theirs = slot.calls[static_cast<size_t>(slot.first)];
  if (theirs && theirs->step != call.step) {
    world_->verdict =
        slot.first < rank()
            ? detail::different_steps(slot.first, theirs->step, rank(), call.step, backend())
            : detail::different_steps(rank(), call.step, slot.first, theirs->step, backend());
    world_->changed.notify_all();
    fail(*world_->verdict);
  }
  slot.calls[static_cast<size_t>(rank())] = std::move(call);
  ++slot.arrived;
  // Whoever waits, waits for all or for one that sends.
  const Call& own = *slot.calls[static_cast<size_t>(rank())];
  const bool sends = rank() == own.step.root || !own.sends.empty();
  if (slot.arrived == world_size() || sends) world_->changed.notify_all();
  return number;
}

void LocalPlanes::leave(uint64_t number) {
  if (++world_->slots.at(number).left == world_size()) world_->slots.erase(number);
}

ErrorInfo LocalPlanes::abandon(const std::string& reason) {
  Lock lock(world_->mutex);
  return failure_of([&] { take_census(lock, {CallKind::kFailure, -1, -1, reason}); });
}

/// A thread does not end without its stack being unwound: whatever is at work is alive.
class LocalWork : public OwnWork {
 public:
  LocalWork(std::shared_ptr<LocalWorld> world, int rank, OngoingWork work)
      : world_(std::move(world)), rank_(rank) {
    const std::lock_guard<std::mutex> lock(world_->mutex);
    const auto found = world_->working.find(rank_);
    if (found != world_->working.end()) outer_ = found->second;
    world_->working[rank_] = std::move(work);
  }
  ~LocalWork() override {
    const std::lock_guard<std::mutex> lock(world_->mutex);
    if (outer_) {
      world_->working[rank_] = *outer_;
    } else {
      world_->working.erase(rank_);
    }
  }

 private:
  std::shared_ptr<LocalWorld> world_;
  int rank_;
  std::optional<OngoingWork> outer_;
};

std::unique_ptr<OwnWork> LocalPlanes::begin_work(const std::string& what) {
  if (world_size() == 1) return nullptr;
  return std::make_unique<LocalWork>(world_, rank(), OngoingWork{what, waits()});
}

/// With the world's mutex held.
bool LocalPlanes::hears_of_work() {
  bool heard = false;
  for (const auto& [peer, work] : world_->working) {
    if (peer == rank() || *work.waits) continue;
    hear_of_work(peer, work.what, times_together());
    heard = true;
  }
  return heard;
}

bool LocalPlanes::peer_abandoned() {
  require_healthy();
  const Lock lock(world_->mutex);
  hears_of_work();
  return world_->census || world_->verdict;
}

void LocalPlanes::take_census(Lock& lock, const Step& step) {
  world_->census = true;
  hears_of_work();
  auto& own = world_->answers[static_cast<size_t>(rank())];
  if (!own) ++world_->answered;
  own = answer_with(step);
  world_->changed.notify_all();
  const auto everybody = [&] { return world_->answered == world_->answers.size(); };
  world_->changed.wait_until(lock, Clock::now() + detail::kCensusListens,
                             [&] { return world_->verdict || everybody(); });
  if (!world_->verdict) {
    world_->verdict = detail::judge_census(world_->answers, backend(), timeout());
    world_->changed.notify_all();
  }
  fail(*world_->verdict);
}

std::string LocalPlanes::meet(const Step& step, const std::string& message) {
  Lock lock(world_->mutex);
  const uint64_t number = enter(lock, {step, message, {}, {}});
  std::string received;
  if (step.kind == CallKind::kBroadcastMessage) {
    const size_t at_root = static_cast<size_t>(step.root);
    const Slot& slot =
        await(lock, number, step, [&](const Slot& s) { return s.calls[at_root].has_value(); });
    received = slot.calls[at_root]->message;
  } else {
    Slot& slot =
        await(lock, number, step, [&](const Slot& s) { return s.arrived == world_size(); });
    if (!slot.combined) slot.combined = combine_messages(step, slot);
    received = *slot.combined;
  }
  leave(number);
  return received;
}

std::unique_ptr<PendingOperation> LocalPlanes::start_broadcast(const at::Tensor& buffer, int root,
                                                               const std::string& what) {
  require_broadcast(buffer, root, what);
  const Step step{CallKind::kBroadcast, root, buffer.numel(), what};
  Lock lock(world_->mutex);
  const uint64_t number = enter(lock, {step, "", buffer, {}});
  return std::make_unique<LocalOperation>(
      [this, number, step, buffer] { finish_broadcast(number, step, buffer); });
}

void LocalPlanes::finish_broadcast(uint64_t number, const Step& step, const at::Tensor& buffer) {
  require_healthy();
  Lock lock(world_->mutex);
  if (rank() == step.root) {
    await_receivers(lock, number, step, world_size() - 1);
  } else {
    take(lock, number, step, step.root, static_cast<std::byte*>(buffer.mutable_data_ptr()),
         static_cast<size_t>(step.bytes));
  }
  leave(number);
}

std::unique_ptr<PendingOperation> LocalPlanes::start_exchange(const Exchange& exchange,
                                                              const std::string& what) {
  const Step step = require_exchange(exchange, what);
  Lock lock(world_->mutex);
  const uint64_t number = enter(lock, {step, "", exchange.outgoing, exchange.sends});
  return std::make_unique<LocalOperation>(
      [this, number, step, exchange] { finish_exchange(number, step, exchange); });
}

void LocalPlanes::finish_exchange(uint64_t number, const Step& step, const Exchange& exchange) {
  require_healthy();
  Lock lock(world_->mutex);
  auto* to = static_cast<std::byte*>(exchange.incoming.mutable_data_ptr());
  for (const Parcel& parcel : exchange.receives) {
    take(lock, number, step, parcel.rank, to, static_cast<size_t>(parcel.bytes));
    to += parcel.bytes;
  }
  await_receivers(lock, number, step, static_cast<int>(exchange.sends.size()));
  leave(number);
}

void LocalPlanes::await_receivers(Lock& lock, uint64_t number, const Step& step, int receivers) {
  const auto own = static_cast<size_t>(rank());
  await(lock, number, step, [&](const Slot& slot) { return slot.taken[own] == receivers; });
}

/// What a call of rank `from` has for this rank: where it begins in its buffer.
std::optional<size_t> begin_of_parcel(const Call& call, int rank, size_t bytes) {
  if (call.step.kind != CallKind::kExchange) return 0;
  size_t begin = 0;
  for (const Parcel& parcel : call.sends) {
    if (parcel.rank == rank && static_cast<size_t>(parcel.bytes) == bytes) return begin;
    begin += static_cast<size_t>(parcel.bytes);
  }
  return std::nullopt;
}

/// Copies what `from` has for this rank, once it is there.
void LocalPlanes::take(Lock& lock, uint64_t number, const Step& step, int from, std::byte* to,
                       size_t bytes) {
  const auto sender = static_cast<size_t>(from);
  Slot& slot =
      await(lock, number, step, [&](const Slot& other) { return other.calls[sender].has_value(); });
  const Call& call = *slot.calls[sender];
  const auto begin = begin_of_parcel(call, rank(), bytes);
  if (!begin) {
    world_->verdict = detail::different_parcels(from, rank(), bytes, step);
    world_->changed.notify_all();
    fail(*world_->verdict);
  }
  // The handle keeps the sender's memory alive should it give up while this copies.
  const at::Tensor source = call.buffer;
  lock.unlock();
  if (bytes > 0) {
    std::memcpy(to, static_cast<const std::byte*>(source.const_data_ptr()) + *begin, bytes);
  }
  lock.lock();
  ++slot.taken[sender];
  world_->changed.notify_all();
}

}  // namespace

std::vector<std::unique_ptr<Communicator>> make_local_communicators(
    int world_size, std::chrono::milliseconds timeout) {
  if (world_size < 1) {
    throw ConfigError("world_size", std::to_string(world_size) + " is not a valid number of ranks",
                      "give 1 or more");
  }
  auto world = std::make_shared<LocalWorld>(world_size);
  std::vector<std::unique_ptr<Communicator>> ranks;
  for (int rank = 0; rank < world_size; ++rank) {
    const auto planes = std::make_shared<LocalPlanes>(world, rank, world_size, timeout);
    ranks.push_back(std::make_unique<Communicator>(planes, planes));
  }
  return ranks;
}

}  // namespace fakescore
