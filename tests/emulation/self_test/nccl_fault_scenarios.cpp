// What a rank hears when it, or a peer, does something wrong or nothing at all.
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <thread>

#include "emulation.hpp"
#include "self_test/nccl_rank.hpp"

namespace fakescore::emulation {
namespace {

constexpr size_t kCount = 1000;

/// The stream hangs until the communicator is aborted; then it goes on.
void abort_frees(ncclComm_t communicator, cudaStream_t stream) {
  require(cudaStreamQuery(stream) == cudaErrorNotReady, "the stream hangs");
  require(ncclCommAbort(communicator), "ncclCommAbort");
  require(cudaStreamSynchronize(stream), "the stream is free again");
  require(eventually([] { return attached()->counters().live_communicators == 0; }),
          "no communicator is left");
}

/// After it the ranks are connected, and what goes wrong goes wrong on the stream.
void connect_peers(float* buffer, ncclComm_t communicator, cudaStream_t stream) {
  const ncclResult_t result =
      ncclBroadcast(buffer, buffer, kCount, ncclFloat32, 0, communicator, stream);
  require(result == ncclSuccess || result == ncclInProgress, "the first call");
  require(settle(communicator), "the first call is launched");
  require(cudaStreamSynchronize(stream), "the first call is done");
}

/// All ranks get the error, and then abort.
void expect_invalid_usage(float* buffer, ncclComm_t communicator, cudaStream_t stream) {
  require(eventually([&] { return state_of(communicator) != ncclSuccess; }), "there is an error");
  require(state_of(communicator) == ncclInvalidUsage, "it is ncclInvalidUsage");
  require(!std::string(ncclGetLastError(communicator)).empty(), "NCCL's last error says why");
  require(
      ncclBroadcast(buffer, buffer, 1, ncclFloat32, 0, communicator, stream) == ncclInvalidUsage,
      "the next call is refused");
  abort_frees(communicator, stream);
}

/// Runs `call(buffer, communicator, stream)`, whose arguments differ between ranks.
void mismatch(const std::function<ncclResult_t(float*, ncclComm_t, cudaStream_t)>& call) {
  const ncclComm_t communicator = connect(true);
  const cudaStream_t stream = make_stream();
  float* const buffer = upload(pattern(kCount, rank()));
  require(call(buffer, communicator, stream), "the call itself is accepted");
  expect_invalid_usage(buffer, communicator, stream);
}

void sizes_differ() {
  mismatch([](float* buffer, ncclComm_t communicator, cudaStream_t stream) {
    const size_t count = rank() == 0 ? kCount : kCount / 2;
    return ncclBroadcast(buffer, buffer, count, ncclFloat32, 0, communicator, stream);
  });
}

void types_differ() {
  mismatch([](float* buffer, ncclComm_t communicator, cudaStream_t stream) {
    const auto type = rank() == 0 ? ncclFloat32 : ncclInt32;
    return ncclBroadcast(buffer, buffer, kCount, type, 0, communicator, stream);
  });
}

void roots_differ() {
  mismatch([](float* buffer, ncclComm_t communicator, cudaStream_t stream) {
    return ncclBroadcast(buffer, buffer, kCount, ncclFloat32, rank() == 0 ? 0 : 1, communicator,
                         stream);
  });
}

void order_differs() {
  mismatch([](float* buffer, ncclComm_t communicator, cudaStream_t stream) {
    for (const bool first : {true, false}) {
      const ncclResult_t result =
          first == (rank() == 0)
              ? ncclBroadcast(buffer, buffer, kCount, ncclFloat32, 0, communicator, stream)
              : ncclAllReduce(buffer, buffer, kCount, ncclFloat32, ncclSum, communicator, stream);
      if (result != ncclSuccess) return result;
    }
    return ncclSuccess;
  });
}

void collective_against_message() {
  mismatch([](float* buffer, ncclComm_t communicator, cudaStream_t stream) {
    if (rank() == 1) return ncclRecv(buffer, kCount, ncclFloat32, 0, communicator, stream);
    return ncclBroadcast(buffer, buffer, kCount, ncclFloat32, 0, communicator, stream);
  });
}

void message_sizes_differ() {
  mismatch([](float* buffer, ncclComm_t communicator, cudaStream_t stream) {
    if (rank() == 0) return ncclSend(buffer, kCount, ncclFloat32, 1, communicator, stream);
    return ncclRecv(buffer, kCount / 2, ncclFloat32, 0, communicator, stream);
  });
}

void both_receive() {
  mismatch([](float* buffer, ncclComm_t communicator, cudaStream_t stream) {
    return ncclRecv(buffer, kCount, ncclFloat32, 1 - rank(), communicator, stream);
  });
}

void both_send() {
  mismatch([](float* buffer, ncclComm_t communicator, cudaStream_t stream) {
    return ncclSend(buffer, kCount, ncclFloat32, 1 - rank(), communicator, stream);
  });
}

/// Only rank 0 of two is started.
void a_peer_never_joins() {
  require(cudaSetDevice(0), "cudaSetDevice");
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclComm_t communicator = nullptr;
  const ncclUniqueId id = exchange_id();
  require(ncclCommInitRankConfig(&communicator, 2, id, 0, &config) == ncclInProgress, "init");
  for (int i = 0; i < 200; ++i) {
    require(state_of(communicator) == ncclInProgress, "the init stays in progress");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  float* const buffer = upload(pattern(kCount, 0));
  require(ncclBroadcast(buffer, buffer, kCount, ncclFloat32, 0, communicator, nullptr) ==
              ncclInvalidArgument,
          "a communicator that is not ready is refused");
  require(ncclCommAbort(communicator), "ncclCommAbort");
  require(eventually([] { return attached()->counters().live_communicators == 0; }),
          "no communicator is left");
  // Who comes now finds nobody.
  const ncclResult_t late = ncclCommInitRank(&communicator, 2, id, 1);
  require(late == ncclSystemError && communicator == nullptr, "the id is of no use any more");
}

void a_peer_dies() {
  const ncclComm_t communicator = connect(false);
  const cudaStream_t stream = make_stream();
  float* const buffer = upload(pattern(kCount, rank()));
  connect_peers(buffer, communicator, stream);
  if (rank() == 1) ::raise(SIGKILL);
  require(
      ncclBroadcast(buffer, buffer, kCount, ncclFloat32, 0, communicator, stream) == ncclInProgress,
      "the call is under way");
  require(eventually([&] { return state_of(communicator) == ncclRemoteError; }),
          "the dead peer is noticed");
  abort_frees(communicator, stream);
}

void a_peer_stalls() {
  const ncclComm_t communicator = connect(false);
  const cudaStream_t stream = make_stream();
  float* const buffer = upload(pattern(kCount, rank()));
  connect_peers(buffer, communicator, stream);
  if (rank() == 1) ::raise(SIGSTOP);
  ncclBroadcast(buffer, buffer, kCount, ncclFloat32, 0, communicator, stream);
  require(settle(communicator), "the call is launched");
  for (int i = 0; i < 500; ++i) {
    require(state_of(communicator) == ncclSuccess, "a peer that stalls is no error");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  abort_frees(communicator, stream);
}

/// A message to a peer that left after it aborted.
void a_peer_aborts() {
  const ncclComm_t communicator = connect(true);
  const cudaStream_t stream = make_stream();
  float* const buffer = upload(pattern(kCount, rank()));
  connect_peers(buffer, communicator, stream);
  if (rank() == 1) {
    require(ncclCommAbort(communicator), "ncclCommAbort");
    return;
  }
  require(ncclSend(buffer, kCount, ncclFloat32, 1, communicator, stream), "ncclSend");
  require(eventually([&] { return state_of(communicator) == ncclRemoteError; }),
          "the peer that left is noticed");
  abort_frees(communicator, stream);
}

/// Rank 0's device breaks while it waits for a message. Rank 1 only hears of it when rank 0 aborts.
void a_device_breaks() {
  const ncclComm_t communicator = connect(true);
  const cudaStream_t stream = make_stream();
  float* const buffer = upload(pattern(kCount, rank()));
  connect_peers(buffer, communicator, stream);
  if (rank() == 1) {
    await("the device is broken");
    require(ncclSend(buffer, kCount, ncclFloat32, 0, communicator, stream), "ncclSend");
    for (int i = 0; i < 100; ++i) {
      require(state_of(communicator) == ncclSuccess, "a peer with a broken device is no error");
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    tell("rank 1 waits");
    require(eventually([&] { return state_of(communicator) == ncclRemoteError; }), "rank 0 aborts");
    return abort_frees(communicator, stream);
  }
  require(ncclRecv(buffer, kCount, ncclFloat32, 1, communicator, stream), "ncclRecv");
  std::thread waiting([&] {
    require(cudaStreamSynchronize(stream) == cudaErrorIllegalAddress, "who waits is let go");
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  attached()->break_device();
  waiting.join();
  tell("the device is broken");
  require(ncclBroadcast(buffer, buffer, kCount, ncclFloat32, 0, communicator, stream) ==
              ncclUnhandledCudaError,
          "the next call is refused");
  ncclComm_t other = nullptr;
  require(ncclCommInitRank(&other, 1, exchange_id(), 0) == ncclUnhandledCudaError, "so is an init");
  await("rank 1 waits");
  require(ncclCommAbort(communicator), "ncclCommAbort");
}

/// From a thread whose current device is another one: a call that does not block leaves it alone.
void calls_from_another_device() {
  const auto contexts = [] { return attached()->counters().contexts; };
  const auto elsewhere = [](const std::function<ncclResult_t()>& call) {
    std::thread([&] {
      const ncclResult_t result = call();
      require(result == ncclSuccess || result == ncclInProgress, "the call");
    }).join();
  };
  for (const bool is_blocking : {false, true}) {
    const ncclComm_t communicator = connect(is_blocking);
    const cudaStream_t stream = make_stream();
    float* const buffer = upload(pattern(kCount, rank()));
    if (!is_blocking) require(contexts() == 1, "the rank's own device has a context");
    elsewhere([&] {
      return ncclBroadcast(buffer, buffer, kCount, ncclFloat32, 0, communicator, stream);
    });
    require(settle(communicator), "the call is launched");
    require(cudaStreamSynchronize(stream), "the call is done");
    require(contexts() == (is_blocking && rank() > 0 ? 2 : 1), "what blocks makes the other");
    require(ncclCommDestroy(communicator), "ncclCommDestroy");
  }
}

/// The stream is free long before the call returns.
void abort_takes_its_time() {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::seconds kDelay{1};
  const ncclComm_t communicator = connect(true);
  const cudaStream_t stream = make_stream();
  float* const buffer = upload(pattern(kCount, rank()));
  connect_peers(buffer, communicator, stream);
  if (rank() == 1) return await("rank 0 is done");
  require(ncclBroadcast(buffer, buffer, kCount, ncclFloat32, 0, communicator, stream), "broadcast");
  std::atomic<Clock::duration> freed{Clock::duration(0)};
  attached()->submit(stream, "note", [&] { freed = Clock::now().time_since_epoch(); });
  attached()->set_abort_delay(kDelay);
  const auto called = Clock::now().time_since_epoch();
  require(ncclCommAbort(communicator), "ncclCommAbort");
  const auto returned = Clock::now().time_since_epoch();
  require(cudaStreamSynchronize(stream), "the stream is free");
  require(returned - called >= kDelay, "the call took as long as it was told");
  require(freed.load() < returned, "the stream was free before");
  tell("rank 0 is done");
}

void bad_arguments() {
  const ncclComm_t communicator = connect(true);
  float* const good = upload(pattern(kCount, rank()));
  std::vector<float> host(kCount);
  const auto broadcast = [&](float* buffer, size_t count, int root) {
    return ncclBroadcast(buffer, buffer, count, ncclFloat32, root, communicator, nullptr);
  };
  require(broadcast(host.data(), kCount, 0) == ncclInvalidArgument, "pageable memory is refused");
  void* pinned = nullptr;
  require(cudaMallocHost(&pinned, kCount * sizeof(float)), "cudaMallocHost");
  require(broadcast(static_cast<float*>(pinned), kCount, 0) == ncclInvalidArgument,
          "pinned memory is refused");
  require(broadcast(good, 2 * kCount, 0) == ncclInvalidArgument, "a range too long is refused");
  require(broadcast(good, kCount, size()) == ncclInvalidArgument, "a root too high is refused");
  require(cudaSetDevice((rank() + 1) % 4), "cudaSetDevice");
  float* const elsewhere = upload(pattern(kCount, 0));
  require(broadcast(elsewhere, kCount, 0) == ncclInvalidArgument, "another device is refused");
  require(ncclBroadcast(good, good, kCount, ncclFloat32, 0, communicator, make_stream()) ==
              ncclUnhandledCudaError,
          "a stream of another device is refused");
  require(ncclGroupStart(), "ncclGroupStart");
  require(broadcast(good, kCount, 0), "a good call of the group");
  require(broadcast(host.data(), kCount, 0) == ncclInvalidArgument, "a bad one");
  require(ncclGroupEnd() == ncclInvalidArgument, "the group tells, and launches nothing");
  require(broadcast(good, kCount, 0), "the communicator is still good");
  require(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  require(ncclCommDestroy(communicator), "ncclCommDestroy");
  require(ncclCommDestroy(communicator) == ncclInvalidArgument, "once only");
}

/// Every rank on device 0, as when nobody binds them.
void one_device_for_all() {
  require(cudaSetDevice(0), "cudaSetDevice");
  ncclComm_t communicator = nullptr;
  require(ncclCommInitRank(&communicator, size(), exchange_id(), rank()) == ncclInvalidUsage,
          "ranks that share a device are refused");
  require(communicator == nullptr, "there is no communicator");
}

}  // namespace

const std::vector<NamedScenario> kFaultScenarios{
    {"sizes_differ", sizes_differ},
    {"types_differ", types_differ},
    {"roots_differ", roots_differ},
    {"order_differs", order_differs},
    {"collective_against_message", collective_against_message},
    {"message_sizes_differ", message_sizes_differ},
    {"both_receive", both_receive},
    {"both_send", both_send},
    {"a_peer_never_joins", a_peer_never_joins},
    {"a_peer_dies", a_peer_dies},
    {"a_peer_stalls", a_peer_stalls},
    {"a_peer_aborts", a_peer_aborts},
    {"a_device_breaks", a_device_breaks},
    {"calls_from_another_device", calls_from_another_device},
    {"abort_takes_its_time", abort_takes_its_time},
    {"bad_arguments", bad_arguments},
    {"one_device_for_all", one_device_for_all},
};

}  // namespace fakescore::emulation
