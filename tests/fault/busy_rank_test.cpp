// A rank that is at work on a long step of its own is heard of and not lost; one that dies or stops
// in such a step is lost as soon as any other.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/lost_rank.hpp"
#include "support/process_group.hpp"

namespace fakescore {
namespace {

using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::line_of;
using testing::ProcessGroup;

constexpr int kRanks = 3;
constexpr int kLast = kRanks - 1;
constexpr milliseconds kBusyTimeout{2000};
// Ten of these are more than a lost rank may take to be found, machine's slowness included.
constexpr milliseconds kLongTimeout{4000};
constexpr milliseconds kBusyPatience{90'000};

std::vector<std::string> busy_arguments(const std::string& mode, milliseconds timeout) {
  return {mode, std::to_string(timeout.count())};
}

/// Ranks over a store that outlives them.
struct StoreJob {
  StoreJob(const std::string& mode, milliseconds timeout,
           const std::vector<std::string>& environment = {})
      : store(testing::serve_store()),
        ranks(BUSY_RANK, busy_arguments(mode, timeout), environments(environment)) {}

  std::vector<std::vector<std::string>> environments(const std::vector<std::string>& more) const {
    std::vector<std::vector<std::string>> all;
    for (int rank = 0; rank < kRanks; ++rank) {
      all.push_back(testing::store_environment(rank, kRanks, store->getPort()));
      all.back().insert(all.back().end(), more.begin(), more.end());
    }
    return all;
  }

  c10::intrusive_ptr<c10d::TCPStore> store;
  ProcessGroup ranks;
};

void expect_goes_on_after_work(ProcessGroup& ranks) {
  for (const auto& outcome : ranks.wait(kBusyPatience)) {
    EXPECT_TRUE(outcome.ended) << outcome.output;
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  }
}

void expect_last_is_lost(const std::string& output, milliseconds within,
                         const std::string& last_seen) {
  SCOPED_TRACE(output);
  EXPECT_THAT(line_of(output, "ERROR"),
              AllOf(HasSubstr("rank 2 of 3 did not answer"), HasSubstr(last_seen)));
  testing::expect_heard_in_time(output, within);
}

/// The last rank is lost in a job over a store; the others say so, all alike.
void expect_last_is_lost(const std::string& mode, milliseconds timeout, milliseconds within,
                         const std::string& last_seen) {
  StoreJob job(mode, timeout);
  const auto outcomes = job.ranks.wait(kBusyPatience, {0, 1});
  for (const size_t rank : {size_t{0}, size_t{1}}) {
    ASSERT_TRUE(outcomes[rank].ended);
    EXPECT_EQ(outcomes[rank].exit_code, 5);
    expect_last_is_lost(outcomes[rank].output, within, last_seen);
    EXPECT_EQ(line_of(outcomes[rank].output, "ERROR"), line_of(outcomes[0].output, "ERROR"));
  }
}

const std::string kAtWork = "rank 2 was last known to be at work on \"long step\"";

TEST(BusyRank, IsWaitedForAsAThread) {
  ProcessGroup ranks(BUSY_RANK, busy_arguments("works", kBusyTimeout),
                     {{"FAKESCORE_TEST_LOCAL_RANKS=3"}});
  expect_goes_on_after_work(ranks);
}

TEST(BusyRank, IsWaitedForOverAStore) {
  StoreJob job("works", kBusyTimeout);
  expect_goes_on_after_work(job.ranks);
}

TEST(BusyRank, IsWaitedForInABroadcast) {
  StoreJob job("broadcasts", kBusyTimeout);
  expect_goes_on_after_work(job.ranks);
}

TEST(BusyRank, ThatStopsIsLostWithinATimeout) {
  expect_last_is_lost("stops", kLongTimeout, 3 * kLongTimeout, kAtWork);
}

TEST(BusyRank, ThatIsKilledIsLostWithinATimeout) {
  expect_last_is_lost("is_killed", kLongTimeout, 3 * kLongTimeout, kAtWork);
}

TEST(BusyRank, DoesNotKeepOthersWaitingWhereItWaitsItself) {
  expect_last_is_lost("stops_in_a_call", kLongTimeout, kLongTimeout, "last heard of in \"ready\"");
}

TEST(BusyRank, IsNotWaitedForForEver) {
  expect_last_is_lost("overworks", milliseconds(500), milliseconds(5000), kAtWork);
}

TEST(BusyRank, IsNotWaitedForForEverAsAThread) {
  ProcessGroup ranks(BUSY_RANK, busy_arguments("overworks", milliseconds(500)),
                     {{"FAKESCORE_TEST_LOCAL_RANKS=3"}});
  const auto outcome = ranks.wait(kBusyPatience).front();
  ASSERT_TRUE(outcome.ended);
  EXPECT_EQ(outcome.exit_code, 5);
  expect_last_is_lost(outcome.output, milliseconds(5000), kAtWork);
}

#ifdef FAKESCORE_TEST_MPIEXEC
ProcessGroup start_busy_mpi_job(const std::string& mode, milliseconds timeout) {
  std::vector<std::string> arguments{"--oversubscribe", "-n", std::to_string(kRanks), BUSY_RANK};
  for (const std::string& argument : busy_arguments(mode, timeout)) arguments.push_back(argument);
  return {FAKESCORE_TEST_MPIEXEC, arguments, {{}}};
}

TEST(BusyRank, IsWaitedForUnderMpirun) {
  for (const char* mode : {"works", "broadcasts"}) {
    auto job = start_busy_mpi_job(mode, kBusyTimeout);
    expect_goes_on_after_work(job);
  }
}

TEST(BusyRank, ThatStopsIsLostWithinATimeoutUnderMpirun) {
  auto job = start_busy_mpi_job("stops", kLongTimeout);
  const auto outcome = job.wait(kBusyPatience).front();
  ASSERT_TRUE(outcome.ended) << outcome.output;
  expect_last_is_lost(outcome.output, 3 * kLongTimeout, kAtWork);
}

TEST(BusyRank, DoesNotKeepOthersWaitingWhereItWaitsItselfUnderMpirun) {
  auto job = start_busy_mpi_job("stops_in_a_call", kLongTimeout);
  const auto outcome = job.wait(kBusyPatience).front();
  ASSERT_TRUE(outcome.ended) << outcome.output;
  expect_last_is_lost(outcome.output, kLongTimeout, "last heard of in \"ready\"");
}

TEST(BusyRank, ThatMakesNoCommunicatorIsNotWaitedForForEverUnderMpirun) {
  auto job = start_busy_mpi_job("stays_away", kBusyTimeout);
  const auto outcome = job.wait(kBusyPatience).front();
  ASSERT_TRUE(outcome.ended) << outcome.output;
  EXPECT_NE(outcome.exit_code, 0);
  EXPECT_THAT(line_of(outcome.output, "ERROR"),
              HasSubstr("not every rank made its communicator within 2000 ms"));
}

TEST(BusyRank, ThatCannotSaySoIsLostWithItsLastStepNamed) {
  auto job = start_busy_mpi_job("has_no_threads", kBusyTimeout);
  const auto outcome = job.wait(kBusyPatience).front();
  ASSERT_TRUE(outcome.ended) << outcome.output;
  expect_last_is_lost(outcome.output, kBusyTimeout, "last heard of in \"ready\"");
}
#endif

}  // namespace
}  // namespace fakescore
