// This process is one rank of a job that mpirun or torchrun started.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#include "fakescore/comm/make_communicator.hpp"
#include "support/job_rank.hpp"

namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

/// A rank that took itself for a single process, or found another backend, would pass every test.
bool is_wanted_world(const fakescore::Communicator& communicator) {
  const std::string ranks = variable("FAKESCORE_TEST_RANKS");
  const std::string launcher = variable("FAKESCORE_TEST_BACKEND");
  const std::string backend = launcher == "torchrun" ? "store" : launcher;
  if (ranks == std::to_string(communicator.world_size()) && backend == communicator.backend()) {
    return true;
  }
  std::cerr << "this is a world of " << communicator.world_size() << " over "
            << communicator.backend() << ", but FAKESCORE_TEST_RANKS is \"" << ranks
            << "\" and FAKESCORE_TEST_BACKEND \"" << launcher << "\"" << std::endl;
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  auto& communicator = fakescore::testing::job_communicator();
  communicator =
      fakescore::make_communicator(fakescore::detect_launch_env(), std::chrono::seconds(30));
  const int result = is_wanted_world(*communicator) ? RUN_ALL_TESTS() : 1;
  communicator.reset();
  return result;
}
