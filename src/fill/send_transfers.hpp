#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fill/fill_context.hpp"
#include "fill/split_progress.hpp"
#include "transfer/transfer.hpp"

namespace fakescore::detail {

/// So much of whole tensors is moved before all ranks say that they are still there.
inline constexpr uint64_t kBytesBetweenAgreements = uint64_t{1} << 30;

/// Takes the cut tensors out of a list.
std::vector<Transfer> take_cuts(std::vector<Transfer>& transfers);

/// Collective. Brings parts of cut tensors to the ranks that keep them.
void exchange_cuts(const FillContext& context, std::vector<Transfer> cuts, SplitProgress& progress);

/// Collective. Brings what the root has to others: parts of cut tensors to those that keep them,
/// and all else to all. Returns how many bytes, of whole tensors.
uint64_t send_from_root(const FillContext& context, std::vector<Transfer> transfers,
                        const std::string& phase);

}  // namespace fakescore::detail
