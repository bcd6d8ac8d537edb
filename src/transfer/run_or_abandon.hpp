#pragma once

#include <string>

#include "fakescore/comm/communicator.hpp"
#include "fakescore/error.hpp"

namespace fakescore::detail {

/// Runs a stream of operations that other ranks take part in. Where it ends in the middle without
/// an error of ours, which they cannot know otherwise, they are told, and CommError is thrown.
template <typename Run>
auto run_or_abandon(Communicator& communicator, const std::string& phase, Run run)
    -> decltype(run()) {
  try {
    return run();
  } catch (const Error&) {
    throw;
  } catch (...) {
    const auto info = describe_current_exception(communicator.rank(), phase);
    throw CommError(communicator.abandon(phase + ": " + info.message));
  }
}

}  // namespace fakescore::detail
