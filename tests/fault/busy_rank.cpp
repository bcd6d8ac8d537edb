// One rank of a job whose last rank is at work on a long step of its own while the others wait.
//
//   busy_rank MODE TIMEOUT_MS
//
// MODE says what becomes of the last rank: "works" for three timeouts; "overworks" for more than
// any work is waited for; "stops" or "is_killed" after two timeouts; "stops_in_a_call", in a step
// in which the others wait for it in another call; "broadcasts", as "works", and the others wait
// for bytes; "has_no_threads", as "works", with an MPI that no other thread may call; "stays_away",
// it initialises MPI and makes no communicator. Prints how long it took until a rank was lost, and
// the error, and leaves as the program does.
// FAKESCORE_TEST_DEVICE says where the bulk data lies (cpu unless set); with
// FAKESCORE_TEST_LOCAL_RANKS the ranks are that many threads of this process.

#include <ATen/Functions.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#ifdef FAKESCORE_TEST_WITH_MPI
#include <mpi.h>
#endif

#include "fakescore/fakescore.hpp"

namespace {

using std::chrono::milliseconds;

constexpr int kLostPeer = 5;

struct Job {
  fakescore::Communicator& communicator;
  std::string mode;
  milliseconds timeout;

  int last() const { return communicator.world_size() - 1; }
  bool is_last() const { return communicator.rank() == last(); }
};

/// What the last rank does alone.
void work(const Job& job) {
  if (job.mode == "overworks") {
    std::this_thread::sleep_for(20 * job.timeout);
  } else if (job.mode == "stops" || job.mode == "is_killed") {
    std::this_thread::sleep_for(2 * job.timeout);
    ::raise(job.mode == "stops" ? SIGSTOP : SIGKILL);
  } else {
    std::this_thread::sleep_for(3 * job.timeout);
  }
}

void run_step(const Job& job) {
  fakescore::run_agreed(job.communicator, "long step", fakescore::ErrorCode::kInternal, [&] {
    if (job.mode == "stops_in_a_call") {
      if (job.is_last()) ::raise(SIGSTOP);
      job.communicator.all_gather("", "inner call");
    } else if (job.is_last()) {
      work(job);
    }
  });
}

void broadcast_late(const Job& job) {
  const auto buffer =
      at::zeros({1 << 20}, at::TensorOptions().dtype(at::kByte).device(job.communicator.device()));
  if (job.is_last()) {
    const auto announced = job.communicator.begin_work("slow read");
    work(job);
  }
  job.communicator.start_broadcast(buffer, job.last(), "buffer")->wait();
  job.communicator.all_gather("", "broadcast");
}

/// Returns the exit code.
int run(fakescore::Communicator& communicator, const std::string& mode, milliseconds timeout) {
  // Ranks start at different moments: the deadline under test counts from when all are there.
  communicator.all_gather("", "ready");
  communicator.set_timeout(timeout);
  const Job job{communicator, mode, timeout};
  const auto begin = std::chrono::steady_clock::now();
  try {
    mode == "broadcasts" ? broadcast_late(job) : run_step(job);
  } catch (const fakescore::CommError& error) {
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    const std::string text =
        "SECONDS " + std::to_string(seconds.count()) + "\nERROR " + error.what() + "\n";
    std::cout << text << std::flush;
    return kLostPeer;
  }
  std::cout << "NO ERROR\n" << std::flush;
  return 0;
}

#ifdef FAKESCORE_TEST_WITH_MPI
int start_without_last(milliseconds timeout) {
  int rank = 0;
  int world_size = 0;
  MPI_Init(nullptr, nullptr);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &world_size);
  if (rank == world_size - 1) ::pause();
  try {
    fakescore::make_mpi_communicator(timeout);
  } catch (const fakescore::CommError& error) {
    std::cout << "ERROR " << error.what() << std::endl;
    return kLostPeer;
  }
  return 0;
}
#endif

int run_threads(int ranks, const std::string& mode, milliseconds timeout) {
  std::atomic<int> worst{0};
  std::vector<std::thread> threads;
  for (auto& communicator : fakescore::make_local_communicators(ranks)) {
    threads.emplace_back([&worst, mode, timeout, mine = std::move(communicator)] {
      if (const int code = run(*mine, mode, timeout); code != 0) worst = code;
    });
  }
  for (std::thread& thread : threads) thread.join();
  return worst;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const std::string mode = argv[1];
  const milliseconds timeout(std::atoi(argv[2]));
  if (const char* ranks = std::getenv("FAKESCORE_TEST_LOCAL_RANKS")) {
    return run_threads(std::atoi(ranks), mode, timeout);
  }
#ifdef FAKESCORE_TEST_WITH_MPI
  if (mode == "stays_away") return start_without_last(timeout);
  int level = 0;
  if (mode == "has_no_threads") {
    MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &level);
    if (level >= MPI_THREAD_MULTIPLE) return 2;
  }
#endif
  const char* device = std::getenv("FAKESCORE_TEST_DEVICE");
  const auto communicator =
      fakescore::make_communicator(fakescore::detect_launch_env(), std::chrono::seconds(60),
                                   at::Device(device != nullptr ? device : "cpu"));
  // Leaves as a program does, with what libraries do at exit.
  return run(*communicator, mode, timeout);
}
