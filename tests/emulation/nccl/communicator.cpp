#include "nccl/communicator.hpp"

#include <sched.h>

#include <chrono>
#include <thread>
#include <utility>

#include "nccl/collectives.hpp"
#include "nccl/communicator_table.hpp"
#include "nccl/messages.hpp"
#include "runtime/context.hpp"
#include "runtime/counters.hpp"
#include "runtime/device.hpp"
#include "runtime/fatal.hpp"
#include "runtime/settings.hpp"

namespace fakescore::emulation {
namespace {

void nap(uint64_t us = 50) { std::this_thread::sleep_for(std::chrono::microseconds(us)); }

}  // namespace

Communicator::Communicator(ncclUniqueId id, int size, int rank, int device, bool is_blocking)
    : id_(id),
      size_(size),
      rank_(rank),
      device_(device),
      is_blocking_(is_blocking),
      delays_(mix(settings().seed, static_cast<uint64_t>(rank)), settings().delay_us),
      look_delays_(mix(settings().seed, static_cast<uint64_t>(size + rank)), settings().delay_us) {
  if (!is_blocking) helper_ = Stream::create(device, Stream::Kind::kNonBlocking, 0);
  live_counters().communicators += 1;
}

Communicator::~Communicator() {
  Segment::forget(id_);
  live_counters().communicators -= 1;
}

ncclResult_t Communicator::init() {
  if (is_blocking_) return join();
  return in_background([this] { return join(); });
}

ncclResult_t Communicator::launch(const std::shared_ptr<Stream>& stream,
                                  std::vector<NcclOperation> operations) {
  live_counters().nccl_launches += 1;
  auto job = [this, stream, operations = std::move(operations)] {
    const ncclResult_t connected = connect(operations);
    if (connected == ncclSuccess) enqueue(stream, operations);
    return connected;
  };
  if (!is_blocking_) return in_background(std::move(job));
  // NCCL makes the communicator's device current, and afterwards the one that was.
  make_context(current_device());
  return job();
}

void Communicator::enqueue(const std::shared_ptr<Stream>& stream,
                           std::vector<NcclOperation> operations) {
  Work work;
  work.name = operations.size() == 1 ? name_of(operations.front().kind) : "nccl group";
  for (const NcclOperation& operation : operations) work.bytes += operation.bytes();
  work.run = [self = shared_from_this(), operations = std::move(operations)] {
    self->run(operations);
  };
  // Launches of one communicator run in their order, on whatever streams they are.
  const std::lock_guard<std::mutex> lock(mutex_);
  work.after.push_back(last_launch_);
  last_launch_ = submit(stream, std::move(work));
}

Ticket Communicator::last_launch() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return last_launch_;
}

void Communicator::run(const std::vector<NcclOperation>& operations) {
  ++running_;
  bool goes_on = wait_until([] { return true; });
  for (const NcclOperation& operation : operations) {
    if (goes_on && !operation.is_message()) goes_on = run_collective(*this, operation);
  }
  if (goes_on) run_messages(*this, operations);
  --running_;
}

ncclResult_t Communicator::finalize() {
  const auto wait = [this] {
    const Ticket last = last_launch();
    while (!last.is_reached() && !is_over()) nap();
    return is_over() ? why_over() : ncclSuccess;
  };
  return is_blocking_ ? wait() : in_background(wait);
}

void Communicator::destroy() {
  if (helper_ != nullptr) helper_->last().wait();
  last_launch().wait();
  if (helper_ != nullptr) helper_->close();
  if (segment_) segment_->leave(Fate::kDestroyed);
}

void Communicator::abort() {
  aborted_ = true;
  if (helper_ != nullptr) {
    helper_->last().wait();
    helper_->close();
  }
  while (running_ != 0) nap();
  if (segment_) segment_->leave(Fate::kAborted);
  Segment::forget(id_);
}

bool Communicator::wait_until(const std::function<bool()>& done,
                              const std::function<std::optional<std::string>()>& deadlock) {
  const Outcome outcome = wait_for(done, deadlock);
  return outcome == Outcome::kError ? hang_until_abort() : outcome == Outcome::kDone;
}

Communicator::Outcome Communicator::wait_for(
    const std::function<bool()>& done,
    const std::function<std::optional<std::string>()>& deadlock) {
  constexpr int kYields = 200;
  constexpr int kNapsBetweenChecks = 200;
  for (int tries = 0;; ++tries) {
    if (is_over()) return Outcome::kOver;
    // Asked once: it may change from one to the other of the two meanwhile.
    const ncclResult_t state = state_;
    if (state != ncclSuccess && state != ncclInProgress) return Outcome::kError;
    if (done()) return Outcome::kDone;
    if (tries < kYields) {
      ::sched_yield();
      continue;
    }
    nap();
    if (tries % kNapsBetweenChecks != 0) continue;
    // Peers go on between what was just seen and the look.
    if (deadlock) nap(look_delays_.next_us());
    if (const int32_t fault = (*segment_)->fault; fault != ncclSuccess) {
      fail(static_cast<ncclResult_t>(fault), "a peer reported an error of the group");
    } else if (const auto error = deadlock ? deadlock() : std::nullopt) {
      fail_all(*error);
    } else if (const auto departed = name_departed(); !departed.empty() && !done()) {
      fail(ncclRemoteError, departed);
    }
  }
}

/// "rank 1 died, rank 2 aborted", empty where nobody did. Who destroyed its communicator has
/// nothing left to do with the others; to wait for it is to hang, as with NCCL.
std::string Communicator::name_departed() const {
  std::string text;
  for (int peer = 0; peer < size_; ++peer) {
    if (peer == rank_) continue;
    const Fate fate = segment_->fate_of(peer);
    if (fate != Fate::kDied && fate != Fate::kAborted) continue;
    text += (text.empty() ? "rank " : ", rank ") + std::to_string(peer) +
            (fate == Fate::kDied ? " died" : " aborted");
  }
  return text;
}

bool Communicator::fail_all_and_hang(const std::string& text) {
  fail_all(text);
  return hang_until_abort();
}

void Communicator::fail_all(const std::string& text) {
  (*segment_)->fault = ncclInvalidUsage;
  fail(ncclInvalidUsage, text);
}

ncclResult_t Communicator::fail(ncclResult_t error, const std::string& text) {
  const std::string line = "nccl rank " + std::to_string(rank_) + ": " + text;
  complain(line);
  set_last_nccl_error(line);
  state_ = error;
  return error;
}

bool Communicator::hang_until_abort() const {
  while (!is_over()) nap();
  return false;
}

/// Where another thread aborts, NCCL calls it an internal error.
ncclResult_t Communicator::why_over() const {
  return device_is_broken() ? ncclUnhandledCudaError : ncclInternalError;
}

/// The state says that the call is under way until the helper has done it, as with NCCL: what the
/// caller puts on the stream meanwhile comes before the operation.
ncclResult_t Communicator::in_background(std::function<ncclResult_t()> job) {
  state_ = ncclInProgress;
  auto task = [this, self = shared_from_this(), job = std::move(job)] {
    std::this_thread::sleep_for(std::chrono::microseconds(delays_.next_us()));
    const ncclResult_t result = job();
    ncclResult_t expected = ncclInProgress;
    state_.compare_exchange_strong(expected, result);
  };
  helper_->push({"", 0, std::move(task), {}});
  return ncclInProgress;
}

}  // namespace fakescore::emulation
