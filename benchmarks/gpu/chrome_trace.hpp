#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "emulation.hpp"
#include "read_recorder.hpp"

namespace fakescore::benchmark {

/// One rank's events in Chrome's trace format: its reader threads and streams are threads of a
/// process whose number is the rank. Times are microseconds of a clock that the host's ranks share.
nlohmann::json trace_events(int rank, const std::vector<FileRead>& reads,
                            const std::vector<emulation::Operation>& operations);

/// A whole trace of several ranks' events, from time 0.
nlohmann::json merge_traces(const std::vector<nlohmann::json>& ranks);

}  // namespace fakescore::benchmark
