// A rank dies or stops while a host job's own NCCL communicator or process group moves the bytes:
// the others hear of it, and of the host job's things only that is ended which may be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>

#include "gpu/gpu_processes.hpp"
#include "support/lost_rank.hpp"

namespace fakescore {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::line_of;

constexpr int kWorldSize = 3;
constexpr int kVictim = 1;
constexpr int kLostPeer = 5;
constexpr std::chrono::milliseconds kTimeout{3000};
constexpr std::chrono::milliseconds kPatience{60'000};

struct Case {
  const char* kind;
  bool abort;
  int signal;
  int broadcast;
};

std::string name_case(const ::testing::TestParamInfo<Case>& info) {
  const Case& c = info.param;
  std::string name = c.kind;
  std::replace(name.begin(), name.end(), '-', '_');
  return name + (c.abort ? "_aborted" : "_left_alone") +
         (c.signal == SIGKILL ? "_killed" : "_stopped") + "_before_" + std::to_string(c.broadcast);
}

testing::ProcessGroup start_fault(const Case& c, const std::string& strike, uint16_t port,
                                  std::chrono::milliseconds timeout) {
  std::vector<std::vector<std::string>> environments;
  for (int rank = 0; rank < kWorldSize; ++rank) {
    environments.push_back(testing::store_environment(rank, kWorldSize, port));
    // PyTorch's watchdog may else end the process first.
    environments.back().emplace_back("TORCH_NCCL_ASYNC_ERROR_HANDLING=0");
  }
  return testing::start_on_gpus(ADOPTED_FAULT_RANK,
                                {c.kind, c.abort ? "1" : "0", strike, std::to_string(kVictim),
                                 std::to_string(c.broadcast), std::to_string(timeout.count())},
                                environments);
}

class AdoptedRankLost : public ::testing::TestWithParam<Case> {};

TEST_P(AdoptedRankLost, SurvivorsHearOfItAndTheHostJobKeepsWhatIsItsOwn) {
  const Case& c = GetParam();
  const auto store = testing::serve_store();
  auto ranks = start_fault(c, std::to_string(c.signal), store->getPort(), kTimeout);
  const std::vector<size_t> survivors{0, 2};
  const auto outcomes = ranks.wait(kPatience, survivors);

  for (const size_t rank : survivors) {
    const std::string& output = outcomes[rank].output;
    SCOPED_TRACE("rank " + std::to_string(rank) + " printed: " + output);
    ASSERT_TRUE(outcomes[rank].ended);
    EXPECT_EQ(outcomes[rank].exit_code, kLostPeer);
    const std::string error = line_of(output, "ERROR");
    EXPECT_THAT(error, AllOf(HasSubstr("buffer " + std::to_string(c.broadcast)),
                             HasSubstr("rank 1 of 3 did not answer")));
    EXPECT_EQ(error, line_of(outcomes[survivors.front()].output, "ERROR"));
    testing::expect_heard_in_time(output, kTimeout);
    if (!testing::on_real_gpus()) {
      EXPECT_EQ(line_of(output, "COMMUNICATORS"), c.abort ? "COMMUNICATORS 0" : "COMMUNICATORS 1");
    }
    if (c.abort) {
      EXPECT_EQ(line_of(output, "KEPT"), "KEPT 0");
    } else {
      EXPECT_NE(line_of(output, "KEPT"), "KEPT 0") << "the buffer in flight has to stay";
    }
  }
}

// Nothing gets a caller out that waits for a stopped peer in the first broadcast of a communicator
// that blocks and may not be aborted: see docs/backends.md.
INSTANTIATE_TEST_SUITE_P(
    Cases, AdoptedRankLost,
    ::testing::Values(Case{"nccl", false, SIGKILL, 1}, Case{"nccl", false, SIGSTOP, 0},
                      Case{"nccl", true, SIGSTOP, 1}, Case{"nccl-blocking", true, SIGSTOP, 0},
                      Case{"nccl-blocking", true, SIGKILL, 0},
                      Case{"nccl-blocking", false, SIGKILL, 0},
                      Case{"nccl-blocking", false, SIGSTOP, 1}, Case{"group", false, SIGSTOP, 1},
                      Case{"group", true, SIGKILL, 1}, Case{"group", false, SIGKILL, 0},
                      Case{"group", false, SIGSTOP, 0}),
    name_case);

/// Long before the deadline, which here never comes.
TEST(AdoptedFault, AKilledPeerIsHeardOfFromNcclInTheMiddleOfABroadcast) {
  const auto store = testing::serve_store();
  const Case c{"nccl", true, SIGKILL, 1};
  auto ranks = start_fault(c, std::to_string(SIGKILL), store->getPort(), 10 * kPatience);
  const auto outcomes = ranks.wait(kPatience, {0, 2});
  for (const size_t rank : {size_t{0}, size_t{2}}) {
    SCOPED_TRACE("rank " + std::to_string(rank) + " printed: " + outcomes[rank].output);
    EXPECT_TRUE(outcomes[rank].ended);
    EXPECT_EQ(outcomes[rank].exit_code, kLostPeer);
    EXPECT_THAT(line_of(outcomes[rank].output, "ERROR"), HasSubstr("buffer 1"));
  }
}

/// What may not be aborted goes on waiting: only the control plane says that a rank gave up.
TEST(AdoptedFault, ARankThatGivesUpIsHeardOfWhereNothingIsAborted) {
  for (const char* kind : {"nccl", "group"}) {
    const auto store = testing::serve_store();
    auto ranks = start_fault({kind, false, 0, 1}, "gives_up", store->getPort(), 10 * kPatience);
    for (const auto& outcome : ranks.wait(kPatience)) {
      SCOPED_TRACE(std::string(kind) + ", which printed: " + outcome.output);
      EXPECT_TRUE(outcome.ended);
      EXPECT_EQ(outcome.exit_code, kLostPeer);
      EXPECT_THAT(line_of(outcome.output, "ERROR"),
                  HasSubstr("rank 1 cannot go on; every rank still answers"));
    }
  }
}

}  // namespace
}  // namespace fakescore
