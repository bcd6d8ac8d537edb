// Jobs of several processes that connect, or fail to. What each rank checks is in the scenarios.
#include <gtest/gtest.h>

#include <string>
#include <tuple>

#include "self_test/nccl_job.hpp"

namespace fakescore::emulation {
namespace {

class ConnectTest : public ::testing::TestWithParam<std::tuple<const char*, int>> {};

TEST_P(ConnectTest, EveryRankSeesWhatItMust) {
  const auto [scenario, ranks] = GetParam();
  for (const auto& outcome : run(scenario, ranks, ranks)) expect_success(outcome);
}

INSTANTIATE_TEST_SUITE_P(
    Nccl, ConnectTest,
    ::testing::Combine(::testing::Values("a_blocking_call_waits",
                                         "a_call_without_blocking_stays_in_progress",
                                         "abort_frees_a_blocked_call",
                                         "a_group_announces_all_of_its_launches"),
                       ::testing::Values(2, 4)),
    [](const auto& test) {
      return std::string(std::get<0>(test.param)) + "_" + std::to_string(std::get<1>(test.param));
    });

TEST(NcclConnectTest, AGroupMayHoldBothRanksOfACommunicator) {
  expect_success(run("a_group_of_both_ranks", 1, 1).at(0));
}

TEST(NcclConnectTest, ABrokenDeviceFreesABlockedCall) {
  for (const auto& outcome : run("a_broken_device_frees_a_blocked_call", 2, 2)) {
    expect_success(outcome);
  }
}

TEST(NcclConnectTest, AMessageConnectsItsTwoEndsOnly) {
  for (const auto& outcome : run("a_message_connects_its_two_ends", 4, 4)) expect_success(outcome);
}

class DeathTest : public ::testing::TestWithParam<const char*> {};

TEST_P(DeathTest, EverySurvivorHearsOfIt) {
  const auto outcomes = run(GetParam(), 4, 4);
  for (const size_t survivor : {size_t{0}, size_t{2}, size_t{3}}) {
    expect_success(outcomes.at(survivor));
    EXPECT_NE(outcomes.at(survivor).output.find("rank 1 died"), std::string::npos);
  }
}

INSTANTIATE_TEST_SUITE_P(Nccl, DeathTest,
                         ::testing::Values("a_peer_dies_before_its_first_call",
                                           "a_peer_dies_while_a_call_is_in_progress"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace fakescore::emulation
