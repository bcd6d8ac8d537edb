#pragma once

#include <signal.h>

#include <string>

#include "fakescore/comm/communicator.hpp"
#include "fakescore/error.hpp"

namespace fakescore::testing {

/// What befalls a victim: the number of a signal; or "gives_up", it says that it cannot go on.
inline void be_struck(const std::string& strike, Communicator& communicator) {
  if (strike == "gives_up") throw CommError(communicator.abandon("the disk is full"));
  ::raise(std::stoi(strike));
}

}  // namespace fakescore::testing
