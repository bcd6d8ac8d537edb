#pragma once

#include "fakescore/fill/fill_report.hpp"
#include "fill/fill_context.hpp"
#include "fill/link_count.hpp"

namespace fakescore::detail {

/// Collective. Makes a report the same on every rank: the slowest rank's seconds, every rank's
/// memory, and what it has `read`, sent and received.
void gather_report(const FillContext& context, uint64_t read, const LinkCount& links,
                   FillReport& report);

}  // namespace fakescore::detail
