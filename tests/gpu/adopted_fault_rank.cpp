// One rank of a host job whose own NCCL communicator or process group is adopted, and in which one
// rank is struck before one of its broadcasts. Prints the error that it got, and what is left of
// the host job's things afterwards (how many communicators only the emulation tells); exits with 5
// for a lost peer.
//
//   adopted_fault_rank KIND ABORT STRIKE VICTIM BROADCAST TIMEOUT_MS
//
// KIND is nccl, nccl-blocking or group; ABORT is 1 where fakescore may abort it; STRIKE is the
// number of a signal, or "gives_up": the victim says that it cannot go on. It is struck before
// broadcast number BROADCAST, from 0.

#include <ATen/DeviceAccelerator.h>
#include <c10/cuda/CUDAStream.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <string>

#include "emulation.hpp"
#include "fakescore/comm/adopt_c10d.hpp"
#include "fakescore/comm/adopt_nccl.hpp"
#include "fakescore/fakescore.hpp"
#include "gpu/host_job.hpp"
#include "support/be_struck.hpp"

namespace {

using fakescore::Communicator;
using std::chrono::milliseconds;

constexpr int kLostPeer = 5;
constexpr int kBroadcasts = 3;
constexpr int64_t kBytes = 1 << 20;

struct Arguments {
  std::string kind;
  fakescore::AdoptOptions options;
  std::string strike;
  int victim;
  int broadcast;
  milliseconds timeout;
};

/// The host job's things, which outlive what is made of them.
struct HostJob {
  std::unique_ptr<Communicator> control;
  c10::intrusive_ptr<c10d::ProcessGroup> group;
};

std::unique_ptr<Communicator> adopt(const Arguments& arguments, HostJob& job,
                                    const fakescore::LaunchEnv& env, at::Device device) {
  constexpr std::chrono::seconds kStart(60);
  auto control = fakescore::make_communicator(env, kStart);
  if (arguments.kind == "group") {
    job.group = fakescore::testing::make_host_process_group(*job.control);
    return fakescore::adopt_process_group(job.group, device, std::move(control), kStart,
                                          arguments.options);
  }
  const ncclComm_t comm =
      fakescore::testing::make_host_nccl(*job.control, device, arguments.kind == "nccl-blocking");
  const auto stream = c10::cuda::getStreamFromPool(false, device.index());
  return fakescore::adopt_nccl_communicator(comm, stream.stream(), std::move(control), device,
                                            arguments.options);
}

void broadcast(Communicator& adopted, const Arguments& arguments) {
  adopted.all_gather("", "ready");
  adopted.set_timeout(arguments.timeout);
  for (int i = 0; i < kBroadcasts; ++i) {
    const auto buffer =
        at::zeros({kBytes}, at::TensorOptions().dtype(at::kByte).device(adopted.device()));
    if (adopted.rank() == arguments.victim && i == arguments.broadcast) {
      fakescore::testing::be_struck(arguments.strike, adopted);
    }
    adopted.start_broadcast(buffer, 0, "buffer " + std::to_string(i))->wait();
  }
}

void print_what_is_left(at::Device device) {
  constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  std::cout << "KEPT "
            << at::accelerator::getDeviceStats(device.index()).allocated_bytes[kAll].current
            << std::endl;
  if (auto* emulation = fakescore::emulation::attached()) {
    std::cout << "COMMUNICATORS " << emulation->counters().live_communicators << std::endl;
  }
}

int run(const Arguments& arguments) {
  fakescore::load_cuda();
  const fakescore::LaunchEnv env = fakescore::detect_launch_env();
  HostJob job;
  job.control = fakescore::make_communicator(env, std::chrono::seconds(60));
  const at::Device device(at::kCUDA, static_cast<at::DeviceIndex>(env.local_rank));
  auto adopted = adopt(arguments, job, env, device);
  int exit_code = 0;
  const auto begin = std::chrono::steady_clock::now();
  try {
    broadcast(*adopted, arguments);
  } catch (const fakescore::CommError& error) {
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    std::cout << "SECONDS " << seconds.count() << "\nERROR " << error.what() << std::endl;
    exit_code = kLostPeer;
  }
  adopted.reset();
  print_what_is_left(device);
  // The host job is broken as well: its own destructors would wait for the lost rank.
  ::_exit(exit_code);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) return 2;
  return run({argv[1],
              {.abort_on_failure = std::string(argv[2]) == "1"},
              argv[3],
              std::atoi(argv[4]),
              std::atoi(argv[5]),
              milliseconds(std::atoi(argv[6]))});
}
