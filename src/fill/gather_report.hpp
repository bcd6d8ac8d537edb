#pragma once

#include "fakescore/comm/communicator.hpp"
#include "fakescore/fill/fill_report.hpp"

namespace fakescore::detail {

/// Collective. Makes a report the same on every rank: the slowest rank's seconds, every rank's
/// memory.
void gather_report(Communicator& communicator, at::Device device, FillReport& report);

}  // namespace fakescore::detail
