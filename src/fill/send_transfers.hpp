#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "fill/fill_context.hpp"
#include "fill/link_count.hpp"
#include "fill/route_agreement.hpp"
#include "fill/split_progress.hpp"
#include "transfer/transfer.hpp"

namespace fakescore::detail {

/// So much of whole tensors is moved before all ranks say that they are still there: those that
/// neither send nor receive for long must not take a slow one for lost.
inline constexpr uint64_t kBytesBetweenAgreements = uint64_t{1} << 30;

/// The same where something is passed on, `latest` rounds after the first one at the most: such
/// chains of ranks begin anew each time, and are to be short beside what they carry.
uint64_t bytes_between_agreements(int latest, size_t bucket_bytes);

/// Takes the cut tensors out of a list.
std::vector<Transfer> take_cuts(std::vector<Transfer>& transfers);

/// Whether a rank that has a whole tensor can pass it on to the next: it lies in one stretch, as it
/// travels.
bool can_be_passed_on(const TransferLayout& layout);

/// Where the parts of cut tensors are, and how they come there.
struct CutSupply {
  CutsFrom from = CutsFrom::kRoot;
  /// Of readers, before some tensors are sent: brings this rank's shares to their places.
  std::function<TransferResult(const std::vector<Transfer>& cuts)> read{};
};

/// Collective. Brings parts of cut tensors to the ranks that keep them.
void exchange_cuts(const FillContext& context, std::vector<Transfer> cuts, const CutSupply& supply,
                   LinkCount& links, SplitProgress& progress);

/// Collective. Brings parts of cut tensors to those that keep them, and all else from its root
/// (TransferLayout::root) to all: host by host (passes_on_by_hosts), or by broadcasts. Returns how
/// many bytes, of whole tensors.
uint64_t send_transfers(const FillContext& context, std::vector<Transfer> transfers,
                        const CutSupply& supply, LinkCount& links, const std::string& phase);

}  // namespace fakescore::detail
