// Jobs of several processes on the emulated NCCL. What each rank checks is in the scenarios.
#include <gtest/gtest.h>

#include <string>
#include <tuple>

#include "self_test/nccl_job.hpp"

namespace fakescore::emulation {
namespace {

class DataTest : public ::testing::TestWithParam<std::tuple<const char*, int>> {};

TEST_P(DataTest, EveryRankHasWhatItMust) {
  const auto [scenario, ranks] = GetParam();
  for (const auto& outcome : run(scenario, ranks, ranks)) expect_success(outcome);
}

INSTANTIATE_TEST_SUITE_P(
    Nccl, DataTest,
    ::testing::Combine(::testing::Values("broadcast", "reduce_and_gather", "reductions_by_type",
                                         "grouped_broadcasts", "ring", "a_message_just_taken",
                                         "order_across_streams",
                                         "a_call_without_blocking_is_under_way", "nothing_leaks"),
                       ::testing::Values(2, 4)),
    [](const auto& test) {
      return std::string(std::get<0>(test.param)) + "_" + std::to_string(std::get<1>(test.param));
    });

/// Either rank may be the one that finds it out.
struct Mismatch {
  const char* scenario;
  const char* one_side;
  const char* other_side;
};

class MismatchTest : public ::testing::TestWithParam<Mismatch> {};

TEST_P(MismatchTest, EveryRankHearsOfItAndBothSidesAreNamed) {
  std::string output;
  for (const auto& outcome : run(GetParam().scenario, 2, 2)) {
    expect_success(outcome);
    output += outcome.output;
  }
  EXPECT_NE(output.find(GetParam().one_side), std::string::npos) << output;
  EXPECT_NE(output.find(GetParam().other_side), std::string::npos) << output;
}

INSTANTIATE_TEST_SUITE_P(
    Nccl, MismatchTest,
    ::testing::Values(
        Mismatch{"sizes_differ", "called ncclBroadcast of 1000 ncclFloat32, root 0",
                 "called ncclBroadcast of 500 ncclFloat32, root 0"},
        Mismatch{"types_differ", "called ncclBroadcast of 1000 ncclFloat32, root 0",
                 "called ncclBroadcast of 1000 ncclInt32, root 0"},
        Mismatch{"roots_differ", "called ncclBroadcast of 1000 ncclFloat32, root 0",
                 "called ncclBroadcast of 1000 ncclFloat32, root 1"},
        Mismatch{"order_differs", "called ncclAllReduce of 1000 ncclFloat32",
                 "called ncclBroadcast of 1000 ncclFloat32"},
        Mismatch{"collective_against_message", "ncclRecv from", "called nccl"},
        Mismatch{"message_sizes_differ", "this rank called ncclRecv of 500 ncclFloat32 from rank 0",
                 "which called ncclSend of 1000 ncclFloat32"},
        Mismatch{"both_receive", "this rank called ncclRecv",
                 "which called ncclRecv from this rank"},
        Mismatch{"both_send", "this rank called ncclSend", "which called ncclSend to this rank"}),
    [](const auto& test) { return std::string(test.param.scenario); });

TEST(NcclFaultTest, APeerThatNeverJoinsLeavesTheInitInProgressUntilAbort) {
  expect_success(run("a_peer_never_joins", 1, 2).at(0));
}

TEST(NcclFaultTest, APeerThatDiesIsARemoteError) { expect_success(run("a_peer_dies", 2, 2).at(0)); }

TEST(NcclFaultTest, ADeadPeerIsNamedOnEverySurvivor) {
  const auto outcomes = run("a_peer_dies", 4, 4);
  for (const size_t survivor : {size_t{0}, size_t{2}, size_t{3}}) {
    expect_success(outcomes.at(survivor));
    EXPECT_NE(outcomes.at(survivor).output.find("rank 1 died"), std::string::npos);
  }
}

TEST(NcclFaultTest, APeerThatStallsIsNoErrorAndHangsUntilAbort) {
  expect_success(run("a_peer_stalls", 2, 2, {0}).at(0));
}

TEST(NcclFaultTest, APeerThatAbortsIsARemoteError) {
  for (const auto& outcome : run("a_peer_aborts", 2, 2)) expect_success(outcome);
}

TEST(NcclFaultTest, ABrokenDeviceLetsGoOfItsStreamAndIsNoErrorToItsPeer) {
  for (const auto& outcome : run("a_device_breaks", 2, 2)) expect_success(outcome);
}

TEST(NcclFaultTest, ABlockingCallMakesAContextOfTheCallersDevice) {
  for (const auto& outcome : run("calls_from_another_device", 2, 2)) expect_success(outcome);
}

TEST(NcclFaultTest, AbortTakesAsLongAsATestWants) {
  for (const auto& outcome : run("abort_takes_its_time", 2, 2)) expect_success(outcome);
}

TEST(NcclFaultTest, BadArgumentsAreRefused) {
  for (const auto& outcome : run("bad_arguments", 2, 2)) expect_success(outcome);
}

TEST(NcclFaultTest, RanksOnOneDeviceAreRefused) {
  for (const auto& outcome : run("one_device_for_all", 2, 2)) expect_success(outcome);
}

}  // namespace
}  // namespace fakescore::emulation
