#pragma once

#include <cstdint>

#include "fill/described_target.hpp"
#include "fill/fill_context.hpp"
#include "fill/link_count.hpp"
#include "fill/plan_phase.hpp"
#include "fill/storages.hpp"

namespace fakescore::detail {

/// Collective. Gives every rank the values of what the teacher does not hold: the root replays them
/// from the tape, or has them already, and sends them. Returns the bytes.
uint64_t replay(const FillContext& context, const DescribedTarget& described,
                const PlannedFill& planned, Storages& storages, LinkCount& links);

}  // namespace fakescore::detail
