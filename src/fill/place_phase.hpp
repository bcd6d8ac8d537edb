#pragma once

#include "fill/described_target.hpp"
#include "fill/fill_context.hpp"
#include "fill/storages.hpp"

namespace fakescore::detail {

/// Collective. Allocates the target's storages, in which no page is touched yet, or takes those
/// that are given. Throws MemoryError, on every rank, where a rank has too little memory.
void place(const FillContext& context, const DescribedTarget& described, Storages& storages);

}  // namespace fakescore::detail
