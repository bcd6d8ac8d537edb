#include "comm/nccl/nccl_link.hpp"

#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <cstdio>

#include "fakescore/comm/communicator.hpp"

namespace fakescore::detail {
namespace {

constexpr std::chrono::milliseconds kWatchInterval{5};
constexpr std::chrono::microseconds kNap{100};
// The control plane is asked less often: over a store each look is a message.
constexpr std::chrono::milliseconds kControlInterval{100};

std::string no_progress(std::chrono::milliseconds timeout) {
  char text[64];
  std::snprintf(text, sizeof text, "no progress within %g s",
                static_cast<double>(timeout.count()) / 1000);
  return text;
}

}  // namespace

std::string describe_nccl(ncclResult_t result, ncclComm_t comm) {
  std::string text = ncclGetErrorString(result);
  const char* last = ncclGetLastError(comm);
  if (last != nullptr && *last != '\0') text.append(": ").append(last);
  return text;
}

NcclLink::NcclLink(ncclComm_t comm, at::Device device, Ownership ownership,
                   std::optional<c10::Stream> lane)
    : device_(device), comm_(comm), ownership_(ownership), lane_(lane), watchdog_([this] {
        watch();
      }) {}

NcclLink::~NcclLink() {
  {
    const Lock lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  watchdog_.join();
  close();
}

std::shared_ptr<NcclFlight> NcclLink::launch(const std::vector<at::Tensor>& buffers, int root,
                                             const std::string& what,
                                             std::chrono::milliseconds timeout,
                                             const Poll& peer_gave_up) {
  auto flight = std::make_shared<NcclFlight>();
  flight->what = what;
  flight->buffers = buffers;
  Lock lock(mutex_);
  if (failure_) return flight;
  timeout_ = timeout;
  if (flights_.empty()) deadline_ = Clock::now() + timeout;
  flights_.push_back(flight);
  changed_.notify_all();
  const c10::Stream current = c10::cuda::getCurrentCUDAStream(device_.index());
  const c10::Stream stream = lane_.value_or(current);
  lock.unlock();
  // A communicator that blocks may wait here for a peer: only an abort gets it out.
  ncclResult_t result = enqueue(*flight, root, stream);
  lock.lock();
  result = poll_until_enqueued(lock, result, what, peer_gave_up);
  if (failure_) return flight;
  if (result != ncclSuccess) {
    break_link({what, describe_nccl(result, comm_)});
    return flight;
  }
  flight->done.record(stream);
  if (lane_) flight->done.block(current);
  flight->is_enqueued = true;
  return flight;
}

ncclResult_t NcclLink::enqueue(const NcclFlight& flight, int root, const c10::Stream& stream) {
  const c10::cuda::CUDAStream cuda_stream(stream);
  if (lane_) {
    c10::Event before(c10::DeviceType::CUDA);
    before.record(c10::cuda::getCurrentCUDAStream(device_.index()));
    before.block(stream);
  }
  ncclResult_t result = ncclGroupStart();
  for (const at::Tensor& buffer : flight.buffers) {
    if (result != ncclSuccess || buffer.numel() == 0) continue;
    // The allocator must not hand the memory out again before NCCL is done with it.
    buffer.record_stream(stream);
    void* data = buffer.mutable_data_ptr();
    const auto bytes = static_cast<size_t>(buffer.numel());
    result = ncclBroadcast(data, data, bytes, ncclUint8, root, comm_, cuda_stream);
    if (result == ncclInProgress) result = ncclSuccess;
  }
  const ncclResult_t ended = ncclGroupEnd();
  return result == ncclSuccess ? ended : result;
}

/// A communicator that does not block takes its work in the background. The watchdog keeps the
/// deadline meanwhile.
ncclResult_t NcclLink::poll_until_enqueued(Lock& lock, ncclResult_t result, const std::string& what,
                                           const Poll& peer_gave_up) {
  auto next_look = Clock::now() + kControlInterval;
  while (result == ncclInProgress && !failure_) {
    lock.unlock();
    std::this_thread::sleep_for(kNap);
    const bool looks = Clock::now() > next_look;
    const bool gave_up = looks && peer_gave_up();
    if (looks) next_look = Clock::now() + kControlInterval;
    lock.lock();
    if (failure_) break;
    if (gave_up) {
      break_link({what, "a peer gave up"});
    } else if (ncclCommGetAsyncError(comm_, &result) != ncclSuccess) {
      result = ncclInternalError;
    }
  }
  return result;
}

std::optional<NcclFailure> NcclLink::failure() const {
  const Lock lock(mutex_);
  return failure_;
}

void NcclLink::fail(const std::string& what, const std::string& reason) {
  const Lock lock(mutex_);
  break_link({what, reason});
}

void NcclLink::watch() {
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
  if (failure_) abort(lock);
}

void NcclLink::look() {
  try {
    while (!flights_.empty() && flights_.front()->is_enqueued && landed(*flights_.front())) {
      flights_.pop_front();
      deadline_ = Clock::now() + timeout_;
    }
    if (flights_.empty()) return;
    ncclResult_t state = ncclSuccess;
    if (ncclCommGetAsyncError(comm_, &state) != ncclSuccess) state = ncclInternalError;
    if (state != ncclSuccess && state != ncclInProgress) {
      break_link({flights_.front()->what, describe_nccl(state, comm_)});
    } else if (Clock::now() > deadline_) {
      break_link({flights_.front()->what, no_progress(timeout_)});
    }
  } catch (const c10::Error& error) {
    break_link({flights_.front()->what, error.what_without_backtrace()});
  }
}

/// Who waits hears of it at once; the abort is the watchdog's.
void NcclLink::break_link(NcclFailure failure) {
  if (failure_) return;
  failure_ = std::move(failure);
  changed_.notify_all();
}

void NcclLink::abort(Lock& lock) {
  if (comm_ == nullptr || ownership_ == Ownership::kAdopted) return;
  const ncclComm_t comm = comm_;
  comm_ = nullptr;
  lock.unlock();
  ncclCommAbort(comm);
  lock.lock();
}

void NcclLink::close() noexcept {
  if (failure_ && ownership_ == Ownership::kAdopted) {
    // NCCL may still read and write them.
    new std::deque<std::shared_ptr<NcclFlight>>(std::move(flights_));
    return;
  }
  if (comm_ == nullptr || ownership_ != Ownership::kOwned) return;
  const auto deadline = Clock::now() + Communicator::kPeerCensus;
  ncclResult_t state = ncclCommFinalize(comm_);
  while (state == ncclInProgress && Clock::now() < deadline) {
    std::this_thread::sleep_for(kNap);
    if (ncclCommGetAsyncError(comm_, &state) != ncclSuccess) state = ncclInternalError;
  }
  if (state == ncclSuccess) {
    ncclCommDestroy(comm_);
  } else {
    ncclCommAbort(comm_);
  }
}

}  // namespace fakescore::detail
