#pragma once

#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <sstream>
#include <string>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <tuple>

#include "fakescore/comm/communicator.hpp"

namespace fakescore::testing {

/// A rank lost in a phase: phase, signal, victim.
using Fault = std::tuple<std::string, int, int>;

inline std::string name_fault(const ::testing::TestParamInfo<Fault>& info) {
  const auto& [phase, signal, victim] = info.param;
  return phase + (signal == SIGKILL ? "_killed_rank_" : "_stopped_rank_") + std::to_string(victim);
}

/// The first line that begins with `word` and a blank; empty where there is none.
inline std::string line_of(const std::string& output, const std::string& word) {
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(word + " ")) return line;
  }
  return "";
}

/// A rank printed "SECONDS s", how long it took until it heard of a peer that was lost: at most the
/// timeout and the census. The claim is that the wait is bounded, not that a busy machine is fast.
inline void expect_heard_in_time(const std::string& output, std::chrono::milliseconds timeout) {
  constexpr std::chrono::seconds kSlack(15);
  const std::string line = line_of(output, "SECONDS");
  ASSERT_FALSE(line.empty()) << output;
  const std::chrono::duration<double> limit = timeout + Communicator::kPeerCensus + kSlack;
  EXPECT_LT(std::stod(line.substr(line.find(' '))), limit.count());
}

/// A store of the test's own, which outlives every rank.
inline c10::intrusive_ptr<c10d::TCPStore> serve_store() {
  c10d::TCPStoreOptions options;
  options.port = 0;
  options.isServer = true;
  options.waitWorkers = false;
  return c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options);
}

}  // namespace fakescore::testing
