#pragma once

#include <vector>

#include "fill/described_target.hpp"
#include "fill/fill_context.hpp"
#include "fill/storages.hpp"

namespace fakescore::detail {

/// Collective. Allocates the target's storages, in which no page is touched yet, or takes those
/// that are given. Returns the number of each rank's host, by rank (number_hosts). Throws
/// MemoryError, on every rank, where a rank has too little memory.
std::vector<int> place(const FillContext& context, const DescribedTarget& described,
                       Storages& storages);

}  // namespace fakescore::detail
