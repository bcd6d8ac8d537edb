// This process is one rank of a job that mpirun or torchrun started.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#include "fakescore/comm/make_communicator.hpp"
#include "support/rank_environment.hpp"

namespace {

std::unique_ptr<fakescore::Communicator> communicator;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

/// A rank that took itself for a single process, or found another backend, would pass every test.
bool is_wanted_world() {
  const std::string ranks = variable("FAKESCORE_TEST_RANKS");
  const std::string launcher = variable("FAKESCORE_TEST_BACKEND");
  const std::string backend = launcher == "torchrun" ? "store" : launcher;
  if (ranks == std::to_string(communicator->world_size()) && backend == communicator->backend()) {
    return true;
  }
  std::cerr << "this is a world of " << communicator->world_size() << " over "
            << communicator->backend() << ", but FAKESCORE_TEST_RANKS is \"" << ranks
            << "\" and FAKESCORE_TEST_BACKEND \"" << launcher << "\"" << std::endl;
  return false;
}

}  // namespace

namespace fakescore::testing {

void run_on_every_rank(const std::function<void(Communicator&)>& body) {
  ASSERT_FALSE(communicator->broken()) << "an earlier test lost a rank";
  try {
    body(*communicator);
  } catch (const std::exception& error) {
    ADD_FAILURE() << "rank " << communicator->rank() << ": " << error.what();
  }
  if (communicator->broken()) return;
  // Ranks agree on the outcome, so that none goes on alone.
  const std::string mine = ::testing::Test::HasFailure() ? "failed" : "passed";
  const auto outcomes = communicator->all_gather(mine, "outcome of the test");
  for (size_t rank = 0; rank < outcomes.size(); ++rank) {
    EXPECT_EQ(outcomes[rank], "passed") << "on rank " << rank;
  }
}

}  // namespace fakescore::testing

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  communicator =
      fakescore::make_communicator(fakescore::detect_launch_env(), std::chrono::seconds(30));
  const int result = is_wanted_world() ? RUN_ALL_TESTS() : 1;
  communicator.reset();
  return result;
}
