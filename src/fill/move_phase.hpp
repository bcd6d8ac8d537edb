#pragma once

#include <cstdint>

#include "fill/described_target.hpp"
#include "fill/fill_context.hpp"
#include "fill/plan_phase.hpp"
#include "fill/storages.hpp"

namespace fakescore::detail {

/// Collective. Brings the teacher's bytes into every rank's storages, all but those that are
/// replayed: from the root, or by each rank for itself. Returns how many.
uint64_t move(const FillContext& context, const DescribedTarget& described,
              const PlannedFill& planned, const Storages& storages);

}  // namespace fakescore::detail
