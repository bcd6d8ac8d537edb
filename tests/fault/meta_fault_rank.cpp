// One rank of a job in which one rank is struck in a chosen phase of create_fake_score_meta. Leaves
// with the program's own exit code for a lost peer, after printing the error and how long it took
// to hear of it.
//
//   meta_fault_rank PHASE STRIKE VICTIM TIMEOUT_MS
//
// STRIKE is the number of a signal; "gpu": its emulated GPU breaks; "step": it calls another step
// than the others; or "gives_up": it says that it cannot go on. FAKESCORE_TEST_DEVICE says where
// the fake score lies: cpu unless set. FAKESCORE_TEST_ABORT_MS makes emulated NCCL take that long
// to abort.

#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <iostream>

#include "emulation.hpp"
#include "fakescore/fakescore.hpp"
#include "support/be_struck.hpp"
#include "support/faulty_communicator.hpp"
#include "support/tiny_models.hpp"

namespace {

constexpr int kLostPeer = 5;

void be_struck(const std::string& strike, fakescore::Communicator& communicator) {
  if (strike == "gpu") {
    fakescore::emulation::attached()->break_device();
  } else if (strike == "step") {
    communicator.all_gather("", "another step");
  } else {
    fakescore::testing::be_struck(strike, communicator);
  }
}

int run(fakescore::Communicator& communicator) {
  const auto teacher = std::make_shared<fakescore::testing::AwkwardModule>();
  fakescore::MetaOptions options;
  options.verify = true;
  options.bucket_bytes = 65536;
  const auto begin = std::chrono::steady_clock::now();
  try {
    fakescore::create_fake_score_meta(
        [] { return std::make_shared<fakescore::testing::AwkwardModule>(); },
        fakescore::module_source(teacher), communicator, options);
  } catch (const fakescore::CommError& error) {
    const auto seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    std::cout << "SECONDS " << seconds << "\nERROR " << error.what() << std::endl;
    ::_exit(kLostPeer);
  }
  std::cout << "NO ERROR" << std::endl;
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const std::string phase = argv[1];
  const std::string strike = argv[2];
  const int victim = std::atoi(argv[3]);
  const auto timeout = std::chrono::milliseconds(std::atoi(argv[4]));
  const char* device = std::getenv("FAKESCORE_TEST_DEVICE");
  if (const char* abort_ms = std::getenv("FAKESCORE_TEST_ABORT_MS")) {
    fakescore::emulation::attached()->set_abort_delay(
        std::chrono::milliseconds(std::atoi(abort_ms)));
  }
  const auto communicator =
      fakescore::make_communicator(fakescore::detect_launch_env(), std::chrono::seconds(60),
                                   at::Device(device != nullptr ? device : "cpu"));
  // Ranks start at different moments: the deadline under test counts from when all are there.
  communicator->all_gather("", "ready");
  communicator->set_timeout(timeout);
  if (communicator->rank() != victim) return run(*communicator);
  return run(*fakescore::testing::make_faulty(*communicator,
                                              {phase, [&] { be_struck(strike, *communicator); }}));
}
