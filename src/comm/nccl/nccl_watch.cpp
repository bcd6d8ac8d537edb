#include "comm/nccl/nccl_watch.hpp"

#include <c10/cuda/CUDAGuard.h>

#include <thread>
#include <utility>

#include "comm/step.hpp"
#include "fakescore/comm/communicator.hpp"

namespace fakescore::detail {
namespace {

constexpr std::chrono::milliseconds kWatchInterval{5};
constexpr std::chrono::microseconds kNap{100};

}  // namespace

std::string describe_nccl(ncclResult_t result, ncclComm_t comm) {
  std::string text = ncclGetErrorString(result);
  const char* last = ncclGetLastError(comm);
  if (last != nullptr && *last != '\0') text.append(": ").append(last);
  return text;
}

void NcclWatch::run() {
  // Events are destroyed on their device: without this CUDA would make a context on the first GPU.
  const c10::cuda::CUDAGuard guard(device_);
  Lock lock(mutex_);
  while (!stop_) {
    if (failure_) {
      abort(lock);
      changed_.wait(lock, [this] { return stop_; });
    } else if (flights_.empty()) {
      changed_.wait(lock);
    } else {
      look();
      if (!failure_) changed_.wait_for(lock, kWatchInterval);
    }
  }
  close(lock);
  ended_ = true;
  changed_.notify_all();
}

void NcclWatch::stop() {
  const Lock lock(mutex_);
  stop_ = true;
  changed_.notify_all();
}

bool NcclWatch::wait_ended(std::chrono::milliseconds timeout) {
  Lock lock(mutex_);
  return changed_.wait_for(lock, timeout, [this] { return ended_; });
}

ncclComm_t NcclWatch::begin(std::shared_ptr<NcclFlight> flight, std::chrono::milliseconds timeout) {
  const Lock lock(mutex_);
  if (failure_) return nullptr;
  timeout_ = timeout;
  if (flights_.empty()) deadline_.renew(timeout);
  flights_.push_back(std::move(flight));
  changed_.notify_all();
  return comm_;
}

bool NcclWatch::mark_enqueued(NcclFlight& flight, const c10::Stream& stream) {
  const Lock lock(mutex_);
  if (failure_) return false;
  flight.done.record(stream);
  flight.is_enqueued = true;
  return true;
}

ncclResult_t NcclWatch::async_error() const {
  const Lock lock(mutex_);
  return failure_ ? ncclRemoteError : ask();
}

ncclResult_t NcclWatch::ask() const {
  ncclResult_t state = ncclSuccess;
  const ncclResult_t asked = ncclCommGetAsyncError(comm_, &state);
  return asked == ncclSuccess ? state : asked;
}

bool NcclWatch::has_landed(const NcclFlight& flight) const {
  const Lock lock(mutex_);
  return !failure_ && flight.is_enqueued && flight.done.query();
}

std::optional<NcclFailure> NcclWatch::failure() const {
  const Lock lock(mutex_);
  return failure_;
}

void NcclWatch::fail(NcclFailure failure) {
  const Lock lock(mutex_);
  break_off(std::move(failure));
}

void NcclWatch::fail(const std::string& what, ncclResult_t result) {
  const Lock lock(mutex_);
  // After a failure NCCL may be aborted, and has nothing more to say.
  if (!failure_) break_off({what, describe_nccl(result, comm_)});
}

void NcclWatch::look() {
  try {
    while (!flights_.empty() && flights_.front()->is_enqueued && flights_.front()->done.query()) {
      flights_.pop_front();
      deadline_.renew(timeout_);
    }
    if (flights_.empty()) return;
    const std::string& what = flights_.front()->what;
    const ncclResult_t state = ask();
    if (state != ncclSuccess && state != ncclInProgress) {
      break_off({what, describe_nccl(state, comm_)});
    } else if (deadline_.passed()) {
      break_off({what, "no progress within " + in_seconds(timeout_)});
    }
  } catch (const c10::Error& error) {
    break_off({flights_.front()->what, error.what_without_backtrace()});
  }
}

/// Who waits hears of it at once; the abort is the thread's.
void NcclWatch::break_off(NcclFailure failure) {
  if (failure_) return;
  failure_ = std::move(failure);
  changed_.notify_all();
}

void NcclWatch::abort(Lock& lock) {
  if (comm_ == nullptr || ownership_ == NcclOwnership::kAdopted) return;
  const ncclComm_t comm = std::exchange(comm_, nullptr);
  lock.unlock();
  ncclCommAbort(comm);
  lock.lock();
}

void NcclWatch::close(Lock& lock) {
  if (failure_) {
    abort(lock);
    if (ownership_ != NcclOwnership::kAdopted) return;
    // NCCL may still read and write them.
    static_cast<void>(std::make_unique<decltype(flights_)>(std::move(flights_)).release());
    return;
  }
  if (ownership_ != NcclOwnership::kOwned) return;
  const ncclComm_t comm = std::exchange(comm_, nullptr);
  lock.unlock();
  Deadline deadline(Communicator::kPeerCensus);
  ncclResult_t state = ncclCommFinalize(comm);
  while (state == ncclInProgress && !deadline.passed()) {
    std::this_thread::sleep_for(kNap);
    if (ncclCommGetAsyncError(comm, &state) != ncclSuccess) state = ncclInternalError;
  }
  if (state == ncclSuccess) {
    ncclCommDestroy(comm);
  } else {
    ncclCommAbort(comm);
  }
  lock.lock();
}

}  // namespace fakescore::detail
