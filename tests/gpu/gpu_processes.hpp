#pragma once

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "support/process_group.hpp"

namespace fakescore::testing {

/// Whether tests that start processes of their own start them on real devices (tests/gpu/run), not
/// on emulated ones.
inline bool on_real_gpus() { return std::getenv("FAKESCORE_TEST_REAL_GPUS") != nullptr; }

/// `program` with its arguments, once for each environment. FAKESCORE_TEST_EMULATE is what runs a
/// program on emulated devices.
inline ProcessGroup start_on_gpus(const std::string& program, std::vector<std::string> arguments,
                                  const std::vector<std::vector<std::string>>& environments) {
  if (on_real_gpus()) return ProcessGroup(program, arguments, environments);
  arguments.insert(arguments.begin(), program);
  return ProcessGroup(FAKESCORE_TEST_EMULATE, arguments, environments);
}

}  // namespace fakescore::testing
