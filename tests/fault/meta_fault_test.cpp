// A rank dies or stops in each phase of create_fake_score_meta; the others must end, soon, with
// the same error that names it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "support/lost_rank.hpp"
#include "support/process_group.hpp"

namespace fakescore {
namespace {

using std::chrono::milliseconds;
using ::testing::AllOf;
using testing::Fault;
using ::testing::HasSubstr;
using testing::line_of;
using testing::name_fault;
using testing::ProcessGroup;
using testing::store_environment;

constexpr int kWorldSize = 3;
constexpr int kLostPeer = 5;
constexpr milliseconds kTimeout{2000};
constexpr milliseconds kPatience{60'000};
const std::string kPhases[] = {"build", "agree",  "plan",   "place", "move",
                               "bulk",  "replay", "verify", "finish"};

std::vector<std::string> fault_arguments(const std::string& phase, int signal, int victim,
                                         milliseconds timeout = kTimeout) {
  return {phase, std::to_string(signal), std::to_string(victim), std::to_string(timeout.count())};
}

struct Job {
  std::string what;  ///< as meta_fault_rank has it
  bool shares_memory = false;
  milliseconds timeout = kTimeout;
};

/// Strikes the victim in a phase of a job of kWorldSize ranks, and expects the others to end alike
/// within kTimeout.
void expect_survivors_to_name(int victim, const std::string& phase, int signal, const Job& job) {
  const auto store = testing::serve_store();
  std::vector<std::vector<std::string>> environments;
  std::vector<size_t> survivors;
  for (int rank = 0; rank < kWorldSize; ++rank) {
    environments.push_back(store_environment(rank, kWorldSize, store->getPort()));
    environments.back().emplace_back("FAKESCORE_TEST_JOB=" + job.what);
    if (job.shares_memory) environments.back().emplace_back("FAKESCORE_TEST_SHARED=1");
    if (rank != victim) survivors.push_back(static_cast<size_t>(rank));
  }
  ProcessGroup ranks(META_FAULT_RANK, fault_arguments(phase, signal, victim, job.timeout),
                     environments);
  const auto outcomes = ranks.wait(kPatience, survivors);

  for (const size_t rank : survivors) {
    SCOPED_TRACE("rank " + std::to_string(rank) + " printed: " + outcomes[rank].output);
    ASSERT_TRUE(outcomes[rank].ended);
    EXPECT_EQ(outcomes[rank].exit_code, kLostPeer);
    const std::string error = line_of(outcomes[rank].output, "ERROR");
    // "of 3" tells the victim alone from a list that holds it.
    EXPECT_THAT(error, AllOf(HasSubstr("lost peer"),
                             HasSubstr("rank " + std::to_string(victim) + " of 3 did not answer")));
    EXPECT_EQ(error, line_of(outcomes[survivors.front()].output, "ERROR"));
    testing::expect_heard_in_time(outcomes[rank].output, kTimeout);
  }
}

class MetaFault : public ::testing::TestWithParam<Fault> {};

TEST_P(MetaFault, SurvivorsEndWithTheSameErrorThatNamesTheVictim) {
  const auto& [phase, signal, victim] = GetParam();
  expect_survivors_to_name(victim, phase, signal, {"whole"});
}

/// The phase is the job here: a rank is lost amid its exchanges.
class ShardsFault : public ::testing::TestWithParam<Fault> {};

TEST_P(ShardsFault, SurvivorsEndWithTheSameErrorThatNamesTheVictim) {
  const auto& [job, signal, victim] = GetParam();
  expect_survivors_to_name(victim, "bulk", signal, {job});
}

/// The phase is the job here, whose bytes go through memory that the ranks share.
class SharedMemoryFault : public ::testing::TestWithParam<Fault> {};

TEST_P(SharedMemoryFault, SurvivorsEndWithTheSameErrorThatNamesTheVictim) {
  const auto& [job, signal, victim] = GetParam();
  // Of a process whose bytes are awaited the kernel says at once that it has ended. Nobody waits
  // for one that only receives, as rank 2 does where its peers have room for its bytes.
  const bool is_heard_of = signal == SIGKILL && victim == 0;
  const milliseconds timeout = is_heard_of ? kPatience : kTimeout;
  expect_survivors_to_name(victim, "bulk", signal, {job, true, timeout});
}

INSTANTIATE_TEST_SUITE_P(AmidBytes, SharedMemoryFault,
                         ::testing::Combine(::testing::Values("whole", "shards", "other_shards"),
                                            ::testing::Values(SIGKILL, SIGSTOP),
                                            ::testing::Values(0, 2)),
                         name_fault);

INSTANTIATE_TEST_SUITE_P(InAnExchange, ShardsFault,
                         ::testing::Combine(::testing::Values("shards", "other_shards"),
                                            ::testing::Values(SIGKILL, SIGSTOP),
                                            ::testing::Values(0, 2)),
                         name_fault);

INSTANTIATE_TEST_SUITE_P(EveryPhase, MetaFault,
                         ::testing::Combine(::testing::ValuesIn(kPhases),
                                            ::testing::Values(SIGKILL, SIGSTOP),
                                            ::testing::Values(0, 2)),
                         name_fault);

#if defined(FAKESCORE_TEST_MPIEXEC) || defined(FAKESCORE_TEST_TORCHRUN)
/// Strikes rank 2 in a phase of a job that `launcher` starts, and expects the whole job to fail.
void expect_job_fails(const std::string& launcher, std::vector<std::string> arguments,
                      const std::string& phase, int signal, milliseconds patience) {
  arguments.push_back(META_FAULT_RANK);
  for (const std::string& argument : fault_arguments(phase, signal, 2)) {
    arguments.push_back(argument);
  }
  ProcessGroup group(launcher, arguments, {{}});
  const auto job = group.wait(patience).front();
  ASSERT_TRUE(job.ended) << job.output;
  EXPECT_NE(job.exit_code, 0) << job.output;
  EXPECT_THAT(job.output, ::testing::Not(HasSubstr("NO ERROR")));
  // The launcher may end the survivors of a killed rank before they raise; of a stopped one it
  // knows nothing.
  if (signal == SIGSTOP) {
    EXPECT_THAT(job.output, HasSubstr("lost peer"));
  }
}
#endif

#ifdef FAKESCORE_TEST_MPIEXEC
class MetaFaultUnderMpirun : public ::testing::TestWithParam<Fault> {};

TEST_P(MetaFaultUnderMpirun, TheJobEndsWithAFailure) {
  const auto& [phase, signal, victim] = GetParam();
  expect_job_fails(FAKESCORE_TEST_MPIEXEC, {"--oversubscribe", "-n", "3"}, phase, signal,
                   kPatience);
}

/// What a job prints whose rank 2 does something else in "plan" than the others, who would wait for
/// it for long.
std::string output_of_failed_job(const std::string& strike) {
  ProcessGroup group(FAKESCORE_TEST_MPIEXEC,
                     {"--oversubscribe", "-n", "3", META_FAULT_RANK, "plan", strike, "2", "600000"},
                     {{}});
  const auto job = group.wait(kPatience).front();
  EXPECT_TRUE(job.ended);
  EXPECT_NE(job.exit_code, 0);
  EXPECT_THAT(job.output, ::testing::Not(HasSubstr("NO ERROR")));
  return job.output;
}

TEST(DifferentSteps, AreToldApartUnderMpirun) {
  EXPECT_THAT(output_of_failed_job("step"),
              AllOf(HasSubstr("different steps"), HasSubstr("rank 2 called all_gather \"another")));
}

/// It would say that they do not answer, if they heard of it only at their deadline.
TEST(GivingUp, IsHeardOfUnderMpirun) {
  EXPECT_THAT(output_of_failed_job("gives_up"),
              AllOf(HasSubstr("rank 2 cannot go on"), HasSubstr("the disk is full"),
                    HasSubstr("every rank still answers")));
}

INSTANTIATE_TEST_SUITE_P(EveryPhase, MetaFaultUnderMpirun,
                         ::testing::Combine(::testing::ValuesIn(kPhases),
                                            ::testing::Values(SIGKILL, SIGSTOP),
                                            ::testing::Values(2)),
                         name_fault);
#endif

#ifdef FAKESCORE_TEST_TORCHRUN
class MetaFaultUnderTorchrun : public ::testing::TestWithParam<Fault> {};

TEST_P(MetaFaultUnderTorchrun, TheJobEndsWithAFailure) {
  const auto& [phase, signal, victim] = GetParam();
  // The agent gives a stopped rank 30 s to end before it kills it.
  expect_job_fails(FAKESCORE_TEST_TORCHRUN,
                   {"--standalone", "--no-python", "--nproc-per-node", "3"}, phase, signal,
                   3 * kPatience);
}

INSTANTIATE_TEST_SUITE_P(Bulk, MetaFaultUnderTorchrun,
                         ::testing::Combine(::testing::Values("bulk"),
                                            ::testing::Values(SIGKILL, SIGSTOP),
                                            ::testing::Values(2)),
                         name_fault);
#endif

}  // namespace
}  // namespace fakescore
