#pragma once

#include "fakescore/comm/communicator.hpp"
#include "fakescore/fill/fill_report.hpp"

namespace fakescore::detail {

/// Collective. Makes a report the same on every rank: the slowest rank's seconds, every rank's
/// memory, and what it has `read`.
void gather_report(Communicator& communicator, at::Device device, uint64_t read,
                   FillReport& report);

}  // namespace fakescore::detail
