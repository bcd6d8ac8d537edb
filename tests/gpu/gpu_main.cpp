// This process is one rank of a job whose ranks have a GPU each, real or emulated.
#include <gtest/gtest.h>

#include <iostream>

#include "fakescore/comm/make_communicator.hpp"
#include "fakescore/core/cuda.hpp"
#include "fakescore/core/error.hpp"
#include "gpu/gpu_environment.hpp"
#include "support/rank_environment.hpp"

namespace fakescore::testing {
namespace {

constexpr int kSkipped = 77;
constexpr std::chrono::seconds kTimeout(60);

std::unique_ptr<Communicator>& communicator() {
  static std::unique_ptr<Communicator> instance;
  return instance;
}

}  // namespace

at::Device rank_device() { return communicator()->device(); }

void run_on_every_rank(const std::function<void(Communicator&)>& body) {
  ASSERT_FALSE(communicator()->broken()) << "an earlier test lost a rank";
  try {
    body(*communicator());
  } catch (const std::exception& error) {
    ADD_FAILURE() << "rank " << communicator()->rank() << ": " << error.what();
  }
  if (communicator()->broken()) return;
  // Ranks agree on the outcome, so that none goes on alone.
  const std::string mine = ::testing::Test::HasFailure() ? "failed" : "passed";
  const auto outcomes = communicator()->all_gather(mine, "outcome of the test");
  for (size_t rank = 0; rank < outcomes.size(); ++rank) {
    EXPECT_EQ(outcomes[rank], "passed") << "on rank " << rank;
  }
}

int run_gpu_tests(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  try {
    load_cuda();
  } catch (const ConfigError& error) {
    std::cout << "[  SKIPPED ] every test: " << error.what() << std::endl;
    return kSkipped;
  }
  communicator() = make_communicator(detect_launch_env(), kTimeout, at::kCUDA);
  const int result = RUN_ALL_TESTS();
  communicator().reset();
  return result;
}

}  // namespace fakescore::testing

int main(int argc, char** argv) { return fakescore::testing::run_gpu_tests(argc, argv); }
