#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "fill/fill_context.hpp"
#include "fill/route_agreement.hpp"
#include "fill/split_progress.hpp"
#include "transfer/transfer.hpp"

namespace fakescore::detail {

/// So much of whole tensors is moved before all ranks say that they are still there.
inline constexpr uint64_t kBytesBetweenAgreements = uint64_t{1} << 30;

/// Takes the cut tensors out of a list.
std::vector<Transfer> take_cuts(std::vector<Transfer>& transfers);

/// Where the parts of cut tensors are, and how they come there.
struct CutSupply {
  CutsFrom from = CutsFrom::kRoot;
  /// Of readers, before some tensors are sent: brings this rank's shares to their places.
  std::function<TransferResult(const std::vector<Transfer>& cuts)> read{};
};

/// Collective. Brings parts of cut tensors to the ranks that keep them.
void exchange_cuts(const FillContext& context, std::vector<Transfer> cuts, const CutSupply& supply,
                   SplitProgress& progress);

/// Collective. Brings parts of cut tensors to those that keep them, and all else from its root
/// (TransferLayout::root) to all. Returns how many bytes, of whole tensors.
uint64_t send_transfers(const FillContext& context, std::vector<Transfer> transfers,
                        const CutSupply& supply, const std::string& phase);

}  // namespace fakescore::detail
