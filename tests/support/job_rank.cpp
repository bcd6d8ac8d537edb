#include "support/job_rank.hpp"

#include <gtest/gtest.h>

#include "support/rank_environment.hpp"

namespace fakescore::testing {

std::unique_ptr<Communicator>& job_communicator() {
  static std::unique_ptr<Communicator> communicator;
  return communicator;
}

void run_on_every_rank(const std::function<void(Communicator&)>& body) {
  Communicator& communicator = *job_communicator();
  ASSERT_FALSE(communicator.broken()) << "an earlier test lost a rank";
  try {
    body(communicator);
  } catch (const std::exception& error) {
    ADD_FAILURE() << "rank " << communicator.rank() << ": " << error.what();
  }
  if (communicator.broken()) return;
  // Ranks agree on the outcome, so that none goes on alone.
  const std::string mine = ::testing::Test::HasFailure() ? "failed" : "passed";
  const auto outcomes = communicator.all_gather(mine, "outcome of the test");
  for (size_t rank = 0; rank < outcomes.size(); ++rank) {
    EXPECT_EQ(outcomes[rank], "passed") << "on rank " << rank;
  }
}

}  // namespace fakescore::testing
