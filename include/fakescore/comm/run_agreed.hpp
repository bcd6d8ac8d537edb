#pragma once

#include <functional>
#include <string>

#include "fakescore/comm/communicator.hpp"
#include "fakescore/error.hpp"
#include "fakescore/export.hpp"

namespace fakescore {

/// Collective. Runs `step` on every rank and agrees on the outcome: either it succeeded everywhere,
/// or every rank throws the error of the lowest rank on which it failed. `phase` names the step in
/// errors; an exception that is not an Error becomes one of code `fallback`. A lost peer
/// (CommError) is thrown immediately, since the ranks can no longer agree. `step` may be collective
/// itself as long as it fails in the same way on every rank.
FAKESCORE_API void run_agreed(Communicator& communicator, const std::string& phase,
                              ErrorCode fallback, const std::function<void()>& step);

}  // namespace fakescore
