#pragma once

#include <vector>

#include "fill/described_target.hpp"
#include "fill/fill_context.hpp"
#include "fill/plan_phase.hpp"
#include "fill/storages.hpp"
#include "transfer/transfer.hpp"

namespace fakescore::detail {

enum class GroupsToMove { kOfTheTeacher, kReplayed };

/// One transfer for each storage of the kind asked for, with its source where this rank reads. The
/// arguments must outlive the result.
std::vector<Transfer> make_transfers(const FillContext& context, const DescribedTarget& described,
                                     const PlannedFill& planned, const Storages& storages,
                                     GroupsToMove groups);

}  // namespace fakescore::detail
