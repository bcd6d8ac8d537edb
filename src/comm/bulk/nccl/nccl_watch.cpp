#include "comm/bulk/nccl/nccl_watch.hpp"

#include <c10/cuda/CUDAGuard.h>

#include <algorithm>
#include <iterator>
#include <thread>
#include <utility>

#include "comm/words.hpp"
#include "error/torch_error.hpp"
#include "fakescore/comm/control_plane.hpp"
#include "tensor/broken_device.hpp"

namespace fakescore::detail {
namespace {

constexpr std::chrono::milliseconds kWatchInterval{5};
constexpr std::chrono::microseconds kWatchNap{100};
// A call that takes longer waits for a peer.
constexpr std::chrono::milliseconds kLongCall{200};
// Below the time that a destructor waits.
constexpr std::chrono::milliseconds kFinalize{1500};

}  // namespace

std::string describe_nccl(ncclResult_t result, ncclComm_t comm) {
  std::string text = ncclGetErrorString(result);
  const char* last = ncclGetLastError(comm);
  if (last != nullptr && *last != '\0') text.append(": ").append(last);
  const cudaError_t cuda = cudaPeekAtLastError();
  if (result == ncclUnhandledCudaError && cuda != cudaSuccess) {
    text.append(": ").append(cudaGetErrorString(cuda));
  }
  return text;
}

void NcclWatch::run() {
  // Events are destroyed on their device: without this CUDA would make a context on the first GPU.
  c10::cuda::OptionalCUDAGuard guard;
  try {
    guard.set_device(device_);
  } catch (const c10::Error& error) {
    fail({"", describe(error)});
  }
  Lock lock(mutex_);
  while (!stop_) {
    if (failure_) {
      wait_told(lock);
      abort(lock);
      changed_.wait(lock, [this] { return stop_; });
    } else if (launches_.empty()) {
      changed_.wait(lock);
    } else {
      look(lock);
      if (!failure_) changed_.wait_for(lock, kWatchInterval);
    }
  }
  close(lock);
  launches_.clear();
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

ncclComm_t NcclWatch::begin(std::shared_ptr<NcclLaunch> launch, std::chrono::milliseconds timeout) {
  const Lock lock(mutex_);
  if (failure_) return nullptr;
  timeout_ = timeout;
  if (launches_.empty()) deadline_.renew(timeout);
  is_in_call_ = true;
  launches_.push_back(std::move(launch));
  changed_.notify_all();
  return comm_;
}

void NcclWatch::end_call() {
  const Lock lock(mutex_);
  is_in_call_ = false;
  changed_.notify_all();
}

bool NcclWatch::mark_enqueued(NcclLaunch& launch, const c10::Stream& stream) {
  const Lock lock(mutex_);
  if (failure_) return false;
  launch.done.record(stream);
  launch.is_enqueued = true;
  return true;
}

void NcclWatch::hear_of_work() {
  const Lock lock(mutex_);
  deadline_.hear_of_work();
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

bool NcclWatch::has_ended(const std::shared_ptr<NcclLaunch>& launch) {
  {
    const Lock lock(mutex_);
    if (failure_ || !launch->is_enqueued) return false;
  }
  if (!launch->done.query()) return false;
  const Lock lock(mutex_);
  if (failure_) return false;
  drop_ended(launch);
  return true;
}

/// Launches end in the order in which they were enqueued.
void NcclWatch::drop_ended(const std::shared_ptr<NcclLaunch>& last) {
  const auto found = std::find(launches_.begin(), launches_.end(), last);
  if (found == launches_.end()) return;
  launches_.erase(launches_.begin(), std::next(found));
  deadline_.renew(timeout_);
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

void NcclWatch::give_up(const std::string& reason) {
  const Lock lock(mutex_);
  break_off({"", reason});
  is_told_ = true;
  changed_.notify_all();
}

/// The caller tells the other ranks, unless it is stuck in NCCL, out of which only an abort gets
/// it. One that is not stuck must not find its communicator gone.
void NcclWatch::wait_told(Lock& lock) {
  const bool is_out = changed_.wait_for(lock, kLongCall, [this] { return !is_in_call_; });
  if (is_out) {
    changed_.wait_for(lock, ControlPlane::kPeerCensus, [this] { return is_told_ || stop_; });
  }
}

void NcclWatch::look(Lock& lock) {
  const std::shared_ptr<NcclLaunch> first = launches_.front();
  try {
    if (first->is_enqueued) {
      // CUDA may wait for locks of its own: not under this one.
      lock.unlock();
      const bool ended = first->done.query();
      lock.lock();
      if (failure_) return;
      if (ended) drop_ended(first);
      if (ended) return;
    }
    const ncclResult_t state = ask();
    if (state != ncclSuccess && state != ncclInProgress) {
      break_off({first->what, describe_nccl(state, comm_)});
    } else if (deadline_.passed()) {
      break_off({first->what, "no progress within " + in_seconds(timeout_)});
    }
  } catch (const c10::Error& error) {
    if (!lock.owns_lock()) lock.lock();
    break_off({first->what, describe(error)});
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
    // Of an adopted communicator NCCL may still read and write the buffers.
    if (ownership_ != NcclOwnership::kAdopted && is_usable(device_)) return;
    for (const auto& launch : launches_) keep_for_good(launch->buffers);
    return;
  }
  if (ownership_ != NcclOwnership::kOwned) {
    // The host job's stream is not known to LibTorch's allocator.
    for (const auto& launch : launches_) keep_for_good(launch->buffers);
    return;
  }
  const ncclComm_t comm = std::exchange(comm_, nullptr);
  lock.unlock();
  Deadline deadline(kFinalize);
  ncclResult_t state = ncclCommFinalize(comm);
  while (state == ncclInProgress && !deadline.passed()) {
    std::this_thread::sleep_for(kWatchNap);
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
