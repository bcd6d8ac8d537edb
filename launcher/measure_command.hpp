#pragma once

#include "fakescore/comm/communicator.hpp"
#include "options.hpp"

namespace fakescore::launcher {

/// The `measure` command, on one rank of the job: prints what the job's hosts give, and writes it
/// where `plan --figures` takes it. Throws Error.
void measure(const MeasureCommandOptions& options, Communicator& communicator);

}  // namespace fakescore::launcher
