// The first launch of a communicator connects its ranks: what happens until all have come to it.
#include <signal.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <utility>

#include "emulation.hpp"
#include "self_test/nccl_rank.hpp"

namespace fakescore::emulation {
namespace {

constexpr size_t kCount = 1000;

ncclResult_t broadcast(float* buffer, ncclComm_t communicator, cudaStream_t stream) {
  return ncclBroadcast(buffer, buffer, kCount, ncclFloat32, 0, communicator, stream);
}

/// A call on a thread of its own, since it may block.
class BlockingCall {
 public:
  explicit BlockingCall(std::function<ncclResult_t()> call)
      : thread_([this, call = std::move(call)] {
          require(cudaSetDevice(rank()), "cudaSetDevice");
          result_ = call();
          has_returned_ = true;
        }) {}

  void expect_blocked() const {
    for (int i = 0; i < 100; ++i) {
      require(!has_returned_, "the call blocks");
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  ncclResult_t result() {
    require(eventually([this] { return has_returned_.load(); }), "the call returns");
    thread_.join();
    return result_;
  }

 private:
  std::atomic<bool> has_returned_{false};
  ncclResult_t result_ = ncclSuccess;
  std::thread thread_;
};

void expect_values_of_root(const float* buffer, cudaStream_t stream) {
  require(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  require(download(buffer, kCount) == pattern(kCount, 0), "every rank has the root's values");
}

void abort_all(ncclComm_t communicator, cudaStream_t stream) {
  require(ncclCommAbort(communicator), "ncclCommAbort");
  require(cudaStreamSynchronize(stream), "the stream is free");
  require(eventually([] { return attached()->counters().live_communicators == 0; }),
          "no communicator is left");
}

/// The last rank comes late.
void a_blocking_call_waits() {
  const ncclComm_t communicator = connect(true);
  const cudaStream_t stream = make_stream();
  float* const buffer = upload(pattern(kCount, rank()));
  if (rank() == size() - 1) {
    for (int peer = 0; peer < rank(); ++peer) await("blocked" + std::to_string(peer));
    require(broadcast(buffer, communicator, stream), "nobody has to be waited for");
  } else {
    BlockingCall call([&] { return broadcast(buffer, communicator, stream); });
    call.expect_blocked();
    require(cudaStreamQuery(stream), "nothing is on the stream");
    tell("blocked" + std::to_string(rank()));
    require(call.result(), "the call");
  }
  expect_values_of_root(buffer, stream);
  require(broadcast(buffer, communicator, stream), "the second call");
  expect_values_of_root(buffer, stream);
  require(ncclCommDestroy(communicator), "ncclCommDestroy");
}

void a_call_without_blocking_stays_in_progress() {
  const ncclComm_t communicator = connect(false);
  const cudaStream_t stream = make_stream();
  float* const buffer = upload(pattern(kCount, rank()));
  if (rank() == size() - 1) await("everybody has launched");
  require(broadcast(buffer, communicator, stream) == ncclInProgress, "the call is under way");
  for (int i = 0; rank() == 0 && i < 100; ++i) {
    require(state_of(communicator) == ncclInProgress, "it stays under way");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  if (rank() == 0) tell("everybody has launched");
  require(settle(communicator), "it is launched once all have come");
  expect_values_of_root(buffer, stream);
  require(ncclCommDestroy(communicator), "ncclCommDestroy");
}

/// As a watchdog does it; the last rank never launches.
void abort_frees_a_blocked_call() {
  const ncclComm_t communicator = connect(true);
  const cudaStream_t stream = make_stream();
  float* const buffer = upload(pattern(kCount, rank()));
  if (rank() == size() - 1) {
    await("it is over");
    abort_all(communicator, stream);
    return;
  }
  BlockingCall call([&] { return broadcast(buffer, communicator, stream); });
  if (rank() > 0) {  // rank 0 is the watchdog: the others hear that it has aborted
    require(call.result() == ncclRemoteError, "a peer has aborted");
    abort_all(communicator, stream);
    return;
  }
  call.expect_blocked();
  require(ncclCommAbort(communicator), "ncclCommAbort");
  const ncclResult_t result = call.result();
  require(result != ncclSuccess && result != ncclInProgress, "the blocked call is an error");
  require(cudaStreamQuery(stream), "nothing is on the stream");
  require(eventually([] { return attached()->counters().live_communicators == 0; }),
          "no communicator is left");
  tell("it is over");
}

void a_broken_device_frees_a_blocked_call() {
  const ncclComm_t communicator = connect(true);
  const cudaStream_t stream = make_stream();
  float* const buffer = upload(pattern(kCount, rank()));
  if (rank() == size() - 1) return await("it is over");
  BlockingCall call([&] { return broadcast(buffer, communicator, stream); });
  call.expect_blocked();
  attached()->break_device();
  require(call.result() == ncclUnhandledCudaError, "the blocked call says so");
  require(ncclCommAbort(communicator), "ncclCommAbort");
  if (rank() == 0) tell("it is over");
}

void a_peer_dies_before_its_first_call() {
  const ncclComm_t communicator = connect(true);
  const cudaStream_t stream = make_stream();
  float* const buffer = upload(pattern(kCount, rank()));
  if (rank() == 1) {
    await("rank 0 is blocked");
    ::raise(SIGKILL);
  }
  BlockingCall call([&] { return broadcast(buffer, communicator, stream); });
  if (rank() == 0) {
    call.expect_blocked();
    tell("rank 0 is blocked");
  }
  require(call.result() == ncclRemoteError, "the dead peer is noticed");
  require(state_of(communicator) == ncclRemoteError, "by the communicator as well");
  require(cudaStreamQuery(stream), "nothing is on the stream");
  require(broadcast(buffer, communicator, stream) == ncclRemoteError, "the next call is refused");
  abort_all(communicator, stream);
}

void a_peer_dies_while_a_call_is_in_progress() {
  const ncclComm_t communicator = connect(false);
  const cudaStream_t stream = make_stream();
  float* const buffer = upload(pattern(kCount, rank()));
  if (rank() == 1) ::raise(SIGKILL);
  require(broadcast(buffer, communicator, stream) == ncclInProgress, "the call is under way");
  require(settle(communicator) == ncclRemoteError, "the dead peer is noticed");
  abort_all(communicator, stream);
}

/// Each rank names the communicators in another order: with all announced first, nobody waits for
/// somebody who waits for it.
void a_group_announces_all_of_its_launches() {
  const ncclComm_t communicators[] = {connect(true), connect(true)};
  const cudaStream_t streams[] = {make_stream(), make_stream()};
  float* const buffers[] = {upload(pattern(kCount, rank())), upload(pattern(kCount, rank()))};
  require(ncclGroupStart(), "ncclGroupStart");
  for (const int step : {0, 1}) {
    const int which = (rank() + step) % 2;
    require(broadcast(buffers[which], communicators[which], streams[which]), "ncclBroadcast");
  }
  require(ncclGroupEnd(), "ncclGroupEnd");
  for (const int which : {0, 1}) {
    expect_values_of_root(buffers[which], streams[which]);
    require(ncclCommDestroy(communicators[which]), "ncclCommDestroy");
  }
}

/// One process is both ranks.
void a_group_of_both_ranks() {
  const ncclUniqueId id = exchange_id();
  ncclComm_t communicators[2] = {};
  const auto join = [&](int as) {
    require(cudaSetDevice(as), "cudaSetDevice");
    require(ncclCommInitRank(&communicators[as], 2, id, as), "ncclCommInitRank");
  };
  std::thread other(join, 1);
  join(0);
  other.join();
  cudaStream_t streams[2] = {};
  float* buffers[2] = {};
  for (const int device : {0, 1}) {
    require(cudaSetDevice(device), "cudaSetDevice");
    streams[device] = make_stream();
    buffers[device] = upload(pattern(kCount, device));
  }
  require(ncclGroupStart(), "ncclGroupStart");
  for (const int as : {0, 1}) {
    require(broadcast(buffers[as], communicators[as], streams[as]), "ncclBroadcast");
  }
  require(ncclGroupEnd(), "ncclGroupEnd");
  for (const int as : {0, 1}) {
    expect_values_of_root(buffers[as], streams[as]);
    require(ncclCommDestroy(communicators[as]), "ncclCommDestroy");
  }
}

/// Ranks 2 and 3 have no part in it, and never launch anything.
void a_message_connects_its_two_ends() {
  const ncclComm_t communicator = connect(true);
  const cudaStream_t stream = make_stream();
  float* const buffer = upload(pattern(kCount, rank()));
  if (rank() == 0) require(ncclSend(buffer, kCount, ncclFloat32, 1, communicator, stream), "send");
  if (rank() == 1) {
    require(ncclRecv(buffer, kCount, ncclFloat32, 0, communicator, stream), "ncclRecv");
    expect_values_of_root(buffer, stream);
  }
  require(ncclCommDestroy(communicator), "ncclCommDestroy");
}

}  // namespace

const std::vector<NamedScenario> kConnectScenarios{
    {"a_blocking_call_waits", a_blocking_call_waits},
    {"a_call_without_blocking_stays_in_progress", a_call_without_blocking_stays_in_progress},
    {"abort_frees_a_blocked_call", abort_frees_a_blocked_call},
    {"a_broken_device_frees_a_blocked_call", a_broken_device_frees_a_blocked_call},
    {"a_peer_dies_before_its_first_call", a_peer_dies_before_its_first_call},
    {"a_peer_dies_while_a_call_is_in_progress", a_peer_dies_while_a_call_is_in_progress},
    {"a_group_announces_all_of_its_launches", a_group_announces_all_of_its_launches},
    {"a_group_of_both_ranks", a_group_of_both_ranks},
    {"a_message_connects_its_two_ends", a_message_connects_its_two_ends},
};

}  // namespace fakescore::emulation
