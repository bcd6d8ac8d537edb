#pragma once

#include <cstdint>

#include "fill/described_target.hpp"
#include "fill/fill_context.hpp"
#include "fill/link_count.hpp"
#include "fill/plan_phase.hpp"
#include "fill/storages.hpp"

namespace fakescore::detail {

struct MovedBytes {
  uint64_t all = 0;   ///< of the teacher, to this rank and others
  uint64_t read = 0;  ///< by this rank
};

/// Collective. Brings the teacher's bytes into every rank's storages, all but those that are
/// replayed: from the root, from ranks in turn, or by each rank for itself.
MovedBytes move(const FillContext& context, const DescribedTarget& described,
                const PlannedFill& planned, const Storages& storages, LinkCount& links);

}  // namespace fakescore::detail
