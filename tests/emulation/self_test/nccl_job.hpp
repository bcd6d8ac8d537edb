#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "support/process_group.hpp"
#include "support/temp_folder.hpp"

namespace fakescore::emulation {

/// Runs a scenario of nccl_rank in `started` processes, which are told that they are `world_size`.
/// Ends once the ranks in `awaited` have (all where it is empty).
inline std::vector<testing::ProcessGroup::Outcome> run(const std::string& scenario, int started,
                                                       int world_size,
                                                       const std::vector<size_t>& awaited = {}) {
  constexpr std::chrono::seconds kDeadline{90};
  const testing::TempFolder folder;
  std::vector<std::vector<std::string>> environments;
  environments.reserve(static_cast<size_t>(started));
  for (int rank = 0; rank < started; ++rank) {
    environments.push_back({"RANK=" + std::to_string(rank),
                            "WORLD_SIZE=" + std::to_string(world_size),
                            "TEST_FOLDER=" + folder.path().string()});
  }
  testing::ProcessGroup group(FAKESCORE_NCCL_RANK, {scenario}, environments);
  return group.wait(kDeadline, awaited);
}

inline void expect_success(const testing::ProcessGroup::Outcome& outcome) {
  EXPECT_TRUE(outcome.ended);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
}

}  // namespace fakescore::emulation
