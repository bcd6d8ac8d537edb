// A rank dies or stops while NCCL moves the bytes: the others end, soon, with an error that names
// it. Launchers end survivors themselves, so the ranks are processes of the test's own, which meet
// over a store that it serves.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <sstream>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <tuple>

#include "support/process_group.hpp"

namespace fakescore {
namespace {

using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::ProcessGroup;

constexpr int kWorldSize = 3;
constexpr int kLostPeer = 5;
constexpr milliseconds kTimeout{3000};
constexpr milliseconds kPatience{60'000};

/// Phase, signal, victim.
using Fault = std::tuple<std::string, int, int>;

std::string name_fault(const ::testing::TestParamInfo<Fault>& info) {
  const auto& [phase, signal, victim] = info.param;
  return phase + (signal == SIGKILL ? "_killed_rank_" : "_stopped_rank_") + std::to_string(victim);
}

std::string line_of(const std::string& output, const std::string& word) {
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(word + " ")) return line;
  }
  return "";
}

class NcclFault : public ::testing::TestWithParam<Fault> {};

TEST_P(NcclFault, SurvivorsEndWithTheSameErrorThatNamesTheVictim) {
  const auto& [phase, signal, victim] = GetParam();
  c10d::TCPStoreOptions options;
  options.port = 0;
  options.isServer = true;
  options.waitWorkers = false;
  const auto store = c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options);

  std::vector<std::vector<std::string>> environments;
  std::vector<size_t> survivors;
  for (int rank = 0; rank < kWorldSize; ++rank) {
    environments.push_back(testing::store_environment(rank, kWorldSize, store->getPort()));
    environments.back().emplace_back("FAKESCORE_TEST_DEVICE=cuda");
    if (rank != victim) survivors.push_back(static_cast<size_t>(rank));
  }
  ProcessGroup ranks(FAKESCORE_TEST_EMULATE,
                     {META_FAULT_RANK, phase, std::to_string(signal), std::to_string(victim),
                      std::to_string(kTimeout.count())},
                     environments);
  const auto outcomes = ranks.wait(kPatience, survivors);

  for (const size_t rank : survivors) {
    SCOPED_TRACE("rank " + std::to_string(rank) + " printed: " + outcomes[rank].output);
    ASSERT_TRUE(outcomes[rank].ended);
    EXPECT_EQ(outcomes[rank].exit_code, kLostPeer);
    const std::string error = line_of(outcomes[rank].output, "ERROR");
    EXPECT_THAT(error, AllOf(HasSubstr("lost peer"),
                             HasSubstr("rank " + std::to_string(victim) + " of 3 did not answer")));
    EXPECT_EQ(error, line_of(outcomes[survivors.front()].output, "ERROR"));
    if (phase == "bulk") {
      EXPECT_THAT(error, HasSubstr("NCCL broadcast of "));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Phases, NcclFault,
                         ::testing::Combine(::testing::Values("plan", "bulk", "verify"),
                                            ::testing::Values(SIGKILL, SIGSTOP),
                                            ::testing::Values(0, 2)),
                         name_fault);

}  // namespace
}  // namespace fakescore
