// One rank of a job that is suspended as a whole while it works: a child stops this process and
// lets it go on. Exits with 0 where no rank takes another one for lost.
//
//   suspended_rank TIMEOUT_MS STOPPED_MS
//
// FAKESCORE_TEST_DEVICE says where the bulk data lies (cpu unless set); with
// FAKESCORE_TEST_LOCAL_RANKS the ranks are that many threads of this process.

#include <ATen/Functions.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <thread>

#include "fakescore/fakescore.hpp"

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kBefore{300};
constexpr milliseconds kBetweenBroadcasts{100};

/// Made before anything else of this process runs. Suspends it once it is told to.
class Suspension {
 public:
  explicit Suspension(milliseconds length) {
    if (::pipe(go_) != 0) std::abort();
    child_ = ::fork();
    if (child_ != 0) return;
    char told = 0;
    ::close(go_[1]);
    if (::read(go_[0], &told, 1) != 1) ::_exit(1);
    std::this_thread::sleep_for(kBefore);
    ::kill(::getppid(), SIGSTOP);
    std::this_thread::sleep_for(length);
    ::kill(::getppid(), SIGCONT);
    ::_exit(0);
  }

  void begin() {
    std::call_once(begun_, [this] {
      if (::write(go_[1], "x", 1) != 1) std::abort();
    });
  }
  bool is_over() {
    if (!over_ && ::waitpid(child_, nullptr, WNOHANG) == child_) over_ = true;
    return over_;
  }

 private:
  int go_[2] = {};
  std::once_flag begun_;
  pid_t child_ = 0;
  std::atomic<bool> over_{false};
};

void work(fakescore::Communicator& communicator, Suspension& suspension, milliseconds timeout) {
  communicator.all_gather("", "ready");
  communicator.set_timeout(timeout);
  suspension.begin();
  const auto buffer =
      at::zeros({1 << 20}, at::TensorOptions().dtype(at::kByte).device(communicator.device()));
  for (bool goes_on = true; goes_on;) {
    // So that the other ranks are waiting when they are stopped.
    if (communicator.rank() == 0) std::this_thread::sleep_for(kBetweenBroadcasts);
    communicator.start_broadcast(buffer, 0, "buffer")->wait();
    goes_on = false;
    const auto over = communicator.all_gather(suspension.is_over() ? "over" : "", "over");
    for (const std::string& said : over) goes_on = goes_on || said.empty();
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const milliseconds timeout(std::atoi(argv[1]));
  Suspension suspension{milliseconds(std::atoi(argv[2]))};
  std::atomic<int> failures{0};
  const auto run = [&](std::unique_ptr<fakescore::Communicator> communicator) {
    try {
      work(*communicator, suspension, timeout);
    } catch (const fakescore::Error& error) {
      std::cout << error.what() << std::endl;
      ++failures;
    }
  };
  if (const char* ranks = std::getenv("FAKESCORE_TEST_LOCAL_RANKS")) {
    std::vector<std::thread> threads;
    for (auto& communicator : fakescore::make_local_communicators(std::atoi(ranks), timeout)) {
      threads.emplace_back(run, std::move(communicator));
    }
    for (std::thread& thread : threads) thread.join();
  } else {
    const char* device = std::getenv("FAKESCORE_TEST_DEVICE");
    run(fakescore::make_communicator(fakescore::detect_launch_env(), std::chrono::seconds(60),
                                     at::Device(device != nullptr ? device : "cpu")));
  }
  return failures == 0 ? 0 : 1;
}
