// A rank is killed or stopped in each phase of create_fake_score_meta. mpirun and torchrun end the
// survivors themselves, so the ranks here are processes of the test's own, over a store it serves;
// what the launchers do is tested below.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <future>
#include <sstream>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "support/shell.hpp"

namespace fakescore {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::run_shell;
using testing::ShellResult;

constexpr int kRanks = 3;
constexpr int kLostPeer = 5;
constexpr int kTimeoutMs = 1500;
constexpr double kCensusSeconds = 2;
constexpr double kSlackSeconds = 10;  // two cores, shared by three ranks and other tests

struct Strike {
  std::string phase;
  int signal;
  int victim;
};

std::string name_of(const Strike& strike) {
  return strike.phase + (strike.signal == SIGKILL ? "_killed_" : "_stopped_") +
         std::to_string(strike.victim);
}

/// Arguments of meta_fault_rank; the last only marks the processes of one test.
std::string arguments(const Strike& strike, const std::string& mark) {
  std::ostringstream text;
  text << META_FAULT_RANK << ' ' << strike.phase << ' ' << strike.signal << ' ' << strike.victim
       << ' ' << kTimeoutMs << ' ' << mark;
  return text.str();
}

std::string line_with(const std::string& output, const std::string& beginning) {
  const size_t begin = output.find(beginning);
  if (begin == std::string::npos) return "";
  const size_t text = begin + beginning.size();
  return output.substr(text, output.find('\n', text) - text);
}

class MetaFault : public ::testing::TestWithParam<Strike> {};

TEST_P(MetaFault, EverySurvivorRaisesTheSameErrorInBoundedTime) {
  const Strike strike = GetParam();
  const std::string mark = "mark" + std::to_string(::getpid()) + name_of(strike);
  c10d::TCPStoreOptions options;
  options.isServer = true;
  options.port = 0;
  options.waitWorkers = false;
  const c10d::TCPStore store("127.0.0.1", options);
  std::vector<std::future<ShellResult>> ranks;
  for (int rank = 0; rank < kRanks; ++rank) {
    std::ostringstream command;
    command << "env RANK=" << rank << " WORLD_SIZE=" << kRanks << " LOCAL_RANK=" << rank
            << " MASTER_ADDR=127.0.0.1 MASTER_PORT=" << store.getPort()
            << " TORCHELASTIC_USE_AGENT_STORE=True " << arguments(strike, mark);
    ranks.push_back(std::async(std::launch::async, run_shell, command.str()));
  }
  std::vector<std::string> errors;
  for (int rank = 0; rank < kRanks; ++rank) {
    if (rank == strike.victim) continue;
    const ShellResult result = ranks[static_cast<size_t>(rank)].get();
    EXPECT_EQ(result.exit_code, kLostPeer) << result.output;
    errors.push_back(line_with(result.output, "ERROR "));
    EXPECT_LT(std::atof(line_with(result.output, "SECONDS ").c_str()),
              kTimeoutMs / 1000.0 + kCensusSeconds + kSlackSeconds)
        << result.output;
  }
  run_shell("pkill -KILL -f " + mark);  // a stopped rank is still there
  ASSERT_EQ(errors.size(), 2U);
  EXPECT_EQ(errors[0], errors[1]);
  EXPECT_THAT(errors[0],
              AllOf(HasSubstr("lost peer error on rank " + std::to_string(strike.victim)),
                    HasSubstr("did not answer")));
}

std::vector<Strike> strikes() {
  std::vector<Strike> all;
  for (const char* phase :
       {"build", "agree", "plan", "place", "move", "bulk", "replay", "verify", "finish"}) {
    for (const int signal : {SIGKILL, SIGSTOP}) {
      for (const int victim : {0, kRanks - 1}) all.push_back({phase, signal, victim});
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Phases, MetaFault, ::testing::ValuesIn(strikes()),
                         [](const auto& info) { return name_of(info.param); });

class LaunchedFault : public ::testing::TestWithParam<int> {};

#ifdef FAKESCORE_TEST_MPIEXEC
TEST_P(LaunchedFault, MpirunEndsTheJob) {
  const Strike strike{"bulk", GetParam(), kRanks - 1};
  const std::string mark = "mark" + std::to_string(::getpid()) + "mpirun" + name_of(strike);
  std::ostringstream command;
  command << FAKESCORE_TEST_MPIEXEC << " --oversubscribe -n " << kRanks << ' '
          << arguments(strike, mark);
  const ShellResult result = run_shell(command.str());
  run_shell("pkill -KILL -f " + mark);
  EXPECT_NE(result.exit_code, 0) << result.output;
  EXPECT_NE(result.exit_code, 124) << "it did not end: " << result.output;
  if (strike.signal == SIGSTOP) {
    EXPECT_EQ(result.exit_code, kLostPeer) << result.output;
    EXPECT_THAT(result.output, HasSubstr("lost peer error on rank 2"));
  }
}
#endif

#ifdef FAKESCORE_TEST_TORCHRUN
TEST(TorchrunFault, TheAgentEndsTheJobOfAKilledRank) {
  const Strike strike{"bulk", SIGKILL, 1};
  const ShellResult result =
      run_shell(FAKESCORE_TEST_TORCHRUN " --standalone --no-python --nproc-per-node 2 " +
                arguments(strike, "torchrun"));
  EXPECT_NE(result.exit_code, 0) << result.output;
  EXPECT_NE(result.exit_code, 124) << "it did not end: " << result.output;
}
#endif

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(LaunchedFault);
INSTANTIATE_TEST_SUITE_P(Signals, LaunchedFault, ::testing::Values(SIGKILL, SIGSTOP),
                         [](const auto& info) {
                           return info.param == SIGKILL ? "killed" : "stopped";
                         });

}  // namespace
}  // namespace fakescore
