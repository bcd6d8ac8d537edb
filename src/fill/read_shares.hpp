#pragma once

#include <vector>

#include "fill/described_target.hpp"
#include "fill/fill_context.hpp"
#include "fill/plan_phase.hpp"
#include "fill/storages.hpp"
#include "transfer/transfer.hpp"

namespace fakescore::detail {

/// What brings this rank's shares of cut tensors (CutsFrom::kReaders) from the files to their
/// places, from where they are passed on. The arguments must outlive the result.
std::vector<Transfer> shares_to_read(const FillContext& context, const DescribedTarget& described,
                                     const PlannedFill& planned, const Storages& storages,
                                     const std::vector<Transfer>& cuts);

}  // namespace fakescore::detail
