// A job that is suspended as a whole for longer than its timeout, as schedulers do and as a paused
// virtual machine is, goes on afterwards: nobody was lost.
#include <gtest/gtest.h>

#include "support/lost_rank.hpp"
#include "support/process_group.hpp"

namespace fakescore {
namespace {

using testing::ProcessGroup;

constexpr int kWorldSize = 3;
constexpr std::chrono::milliseconds kPatience{60'000};
// The ranks' timeout and how long they are stopped, in milliseconds.
const std::vector<std::string> kArguments{"4000", "8000"};

void expect_goes_on(ProcessGroup& ranks) {
  for (const auto& outcome : ranks.wait(kPatience)) {
    EXPECT_TRUE(outcome.ended) << outcome.output;
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  }
}

TEST(SuspendedJob, GoesOnAsThreads) {
  ProcessGroup ranks(SUSPENDED_RANK, kArguments,
                     {{"FAKESCORE_TEST_LOCAL_RANKS=" + std::to_string(kWorldSize)}});
  expect_goes_on(ranks);
}

TEST(SuspendedJob, GoesOnOverAStore) {
  const auto store = testing::serve_store();
  std::vector<std::vector<std::string>> environments;
  for (int rank = 0; rank < kWorldSize; ++rank) {
    environments.push_back(testing::store_environment(rank, kWorldSize, store->getPort()));
  }
  ProcessGroup ranks(SUSPENDED_RANK, kArguments, environments);
  expect_goes_on(ranks);
}

#ifdef FAKESCORE_TEST_MPIEXEC
TEST(SuspendedJob, GoesOnUnderMpirun) {
  std::vector<std::string> arguments{"--oversubscribe", "-n", std::to_string(kWorldSize),
                                     SUSPENDED_RANK};
  arguments.insert(arguments.end(), kArguments.begin(), kArguments.end());
  ProcessGroup ranks(FAKESCORE_TEST_MPIEXEC, arguments, {{}});
  expect_goes_on(ranks);
}
#endif

}  // namespace
}  // namespace fakescore
