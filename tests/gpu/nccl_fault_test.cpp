// A rank dies or stops while NCCL moves the bytes: the others end, soon, with an error that names
// it. Launchers end survivors themselves, so the ranks are processes of the test's own, which meet
// over a store that it serves.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "gpu/gpu_processes.hpp"
#include "support/lost_rank.hpp"

namespace fakescore {
namespace {

using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::AnyOf;
using testing::Fault;
using ::testing::HasSubstr;
using testing::line_of;
using testing::name_fault;
using testing::ProcessGroup;

constexpr int kWorldSize = 3;
constexpr int kLostPeer = 5;
constexpr milliseconds kTimeout{3000};
constexpr milliseconds kPatience{60'000};

std::vector<std::vector<std::string>> gpu_environments(uint16_t port,
                                                       const std::string& job = "whole") {
  std::vector<std::vector<std::string>> environments;
  for (int rank = 0; rank < kWorldSize; ++rank) {
    environments.push_back(testing::store_environment(rank, kWorldSize, port));
    environments.back().emplace_back("FAKESCORE_TEST_DEVICE=cuda");
    environments.back().emplace_back("FAKESCORE_TEST_JOB=" + job);
  }
  return environments;
}

ProcessGroup start_fault(const std::string& phase, const std::string& strike, int victim,
                         const std::vector<std::vector<std::string>>& environments,
                         milliseconds timeout = kTimeout) {
  return testing::start_on_gpus(
      META_FAULT_RANK, {phase, strike, std::to_string(victim), std::to_string(timeout.count())},
      environments);
}

/// Every rank ends with the same error, in which each of `texts` stands.
void expect_same_error(ProcessGroup& ranks, const std::vector<std::string>& texts) {
  const auto outcomes = ranks.wait(kPatience);
  for (const auto& outcome : outcomes) {
    SCOPED_TRACE(outcome.output);
    EXPECT_TRUE(outcome.ended);
    EXPECT_EQ(outcome.exit_code, kLostPeer);
    const std::string error = line_of(outcome.output, "ERROR");
    for (const std::string& text : texts) EXPECT_THAT(error, HasSubstr(text));
    EXPECT_EQ(error, line_of(outcomes[0].output, "ERROR"));
  }
}

/// Strikes the victim in a phase of a job, and expects the others to end alike.
void expect_survivors_to_name(int victim, const std::string& phase, int signal,
                              const std::string& job) {
  const auto store = testing::serve_store();
  std::vector<size_t> survivors;
  for (int rank = 0; rank < kWorldSize; ++rank) {
    if (rank != victim) survivors.push_back(static_cast<size_t>(rank));
  }
  auto ranks =
      start_fault(phase, std::to_string(signal), victim, gpu_environments(store->getPort(), job));
  const auto outcomes = ranks.wait(kPatience, survivors);

  for (const size_t rank : survivors) {
    SCOPED_TRACE("rank " + std::to_string(rank) + " printed: " + outcomes[rank].output);
    ASSERT_TRUE(outcomes[rank].ended);
    EXPECT_EQ(outcomes[rank].exit_code, kLostPeer);
    const std::string error = line_of(outcomes[rank].output, "ERROR");
    EXPECT_THAT(error, AllOf(HasSubstr("lost peer"),
                             HasSubstr("rank " + std::to_string(victim) + " of 3 did not answer")));
    EXPECT_EQ(error, line_of(outcomes[survivors.front()].output, "ERROR"));
    testing::expect_heard_in_time(outcomes[rank].output, kTimeout);
    if (phase == "bulk") {
      EXPECT_THAT(error, HasSubstr("NCCL transfer of "));
    }
  }
}

class NcclPeerLost : public ::testing::TestWithParam<Fault> {};

TEST_P(NcclPeerLost, SurvivorsEndWithTheSameErrorThatNamesTheVictim) {
  const auto& [phase, signal, victim] = GetParam();
  expect_survivors_to_name(victim, phase, signal, "whole");
}

/// The phase is the job here: a rank is lost amid its exchanges.
class NcclPeerOfShardsLost : public ::testing::TestWithParam<Fault> {};

TEST_P(NcclPeerOfShardsLost, SurvivorsEndWithTheSameErrorThatNamesTheVictim) {
  const auto& [job, signal, victim] = GetParam();
  expect_survivors_to_name(victim, "bulk", signal, job);
}

INSTANTIATE_TEST_SUITE_P(InAnExchange, NcclPeerOfShardsLost,
                         ::testing::Combine(::testing::Values("shards", "other_shards"),
                                            ::testing::Values(SIGKILL, SIGSTOP),
                                            ::testing::Values(0, 2)),
                         name_fault);

INSTANTIATE_TEST_SUITE_P(Phases, NcclPeerLost,
                         ::testing::Combine(::testing::Values("plan", "bulk", "verify"),
                                            ::testing::Values(SIGKILL, SIGSTOP),
                                            ::testing::Values(0, 2)),
                         name_fault);

TEST(NcclFault, AVictimThatServesTheStoreIsNamedByEverySurvivor) {
  for (const int signal : {SIGKILL, SIGSTOP}) {
    // Rank 0 serves the store: here it is only found a port.
    const uint16_t port = testing::serve_store()->getPort();
    auto environments = gpu_environments(port);
    for (auto& environment : environments) {
      environment.emplace_back("TORCHELASTIC_USE_AGENT_STORE=False");
    }
    auto ranks = start_fault("bulk", std::to_string(signal), 0, environments);
    const auto outcomes = ranks.wait(kPatience, {1, 2});
    for (const size_t rank : {size_t{1}, size_t{2}}) {
      SCOPED_TRACE("rank " + std::to_string(rank) + " printed: " + outcomes[rank].output);
      ASSERT_TRUE(outcomes[rank].ended);
      EXPECT_EQ(outcomes[rank].exit_code, kLostPeer);
      EXPECT_THAT(line_of(outcomes[rank].output, "ERROR"),
                  AllOf(HasSubstr("lost peer"), AnyOf(HasSubstr("error on rank 0"),
                                                      HasSubstr("rank 0 of 3 did not answer"))));
      testing::expect_heard_in_time(outcomes[rank].output, kTimeout);
    }
  }
}

TEST(NcclFault, AnAbortThatTakesLongDoesNotDelayTheError) {
  if (testing::on_real_gpus()) GTEST_SKIP() << "only the emulation can make an abort slow";
  const auto store = testing::serve_store();
  auto environments = gpu_environments(store->getPort());
  for (auto& environment : environments) environment.emplace_back("FAKESCORE_TEST_ABORT_MS=60000");
  auto ranks = start_fault("bulk", std::to_string(SIGSTOP), 1, environments);
  const auto outcomes = ranks.wait(kPatience, {0, 2});
  for (const size_t rank : {size_t{0}, size_t{2}}) {
    SCOPED_TRACE("rank " + std::to_string(rank) + " printed: " + outcomes[rank].output);
    EXPECT_TRUE(outcomes[rank].ended);
    EXPECT_EQ(outcomes[rank].exit_code, kLostPeer);
    EXPECT_EQ(line_of(outcomes[rank].output, "ERROR"), line_of(outcomes[0].output, "ERROR"));
    testing::expect_heard_in_time(outcomes[rank].output, kTimeout);
  }
}

TEST(NcclFault, ABrokenGpuIsTheSameErrorOnEveryRank) {
  if (testing::on_real_gpus()) GTEST_SKIP() << "only the emulation can break a GPU";
  const auto store = testing::serve_store();
  auto ranks = start_fault("bulk", "gpu", 1, gpu_environments(store->getPort()));
  expect_same_error(ranks, {"rank 1 cannot go on", "illegal memory access"});
}

TEST(NcclFault, AKilledPeerIsHeardOfLongBeforeTheDeadline) {
  const auto store = testing::serve_store();
  auto ranks = start_fault("bulk", std::to_string(SIGKILL), 1, gpu_environments(store->getPort()),
                           10 * kPatience);
  const auto outcomes = ranks.wait(kPatience, {0, 2});
  for (const size_t rank : {size_t{0}, size_t{2}}) {
    SCOPED_TRACE("rank " + std::to_string(rank) + " printed: " + outcomes[rank].output);
    EXPECT_TRUE(outcomes[rank].ended);
    EXPECT_EQ(outcomes[rank].exit_code, kLostPeer);
  }
}

/// It would say that they do not answer, if they heard of it only at their deadline.
TEST(NcclFault, ARankThatGivesUpIsHeardOfInABroadcast) {
  const auto store = testing::serve_store();
  auto ranks =
      start_fault("bulk", "gives_up", 1, gpu_environments(store->getPort()), 10 * kPatience);
  expect_same_error(ranks, {"rank 1 cannot go on; every rank still answers", "the disk is full"});
}

TEST(NcclFault, ARootThatIsAtWorkIsWaitedForInABroadcast) {
  const auto store = testing::serve_store();
  auto ranks =
      testing::start_on_gpus(BUSY_RANK, {"broadcasts", "2000"}, gpu_environments(store->getPort()));
  for (const auto& outcome : ranks.wait(kPatience)) {
    EXPECT_TRUE(outcome.ended) << outcome.output;
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  }
}

TEST(NcclFault, AJobThatIsSuspendedAsAWholeGoesOn) {
  const auto store = testing::serve_store();
  auto ranks =
      testing::start_on_gpus(SUSPENDED_RANK, {"4000", "8000"}, gpu_environments(store->getPort()));
  for (const auto& outcome : ranks.wait(kPatience)) {
    EXPECT_TRUE(outcome.ended) << outcome.output;
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  }
}

}  // namespace
}  // namespace fakescore
