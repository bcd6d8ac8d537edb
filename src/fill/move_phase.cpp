#include "fill/move_phase.hpp"

#include <utility>
#include <vector>

#include "comm/control/agreement.hpp"
#include "fill/group_transfers.hpp"
#include "fill/read_shares.hpp"
#include "fill/send_transfers.hpp"
#include "transfer/copy_transfers.hpp"
#include "transfer/device_pipeline.hpp"

namespace fakescore::detail {
namespace {

constexpr const char* kMovePhase = "move";

TransferResult copy(const FillContext& context, const std::vector<Transfer>& transfers,
                    const TransferOptions& options) {
  const auto work = context.communicator.begin_work(options.phase);
  const int rank = context.communicator.rank();
  return context.device.is_cpu() ? copy_transfers(transfers, rank, options)
                                 : copy_to_device(transfers, context.device, rank, options);
}

/// Now and then all agree that they are still there, so that a slow rank is not taken for a lost
/// one, and a failed one stops the others.
void read_on_every_rank(const FillContext& context, const std::vector<Transfer>& transfers,
                        SplitProgress& progress) {
  for (auto begin = transfers.begin(); begin != transfers.end();) {
    auto end = begin;
    // Ranks may have parts of different sizes, and agree as often.
    for (uint64_t bytes = 0; end != transfers.end() && bytes < kBytesBetweenAgreements; ++end) {
      bytes += end->whole_bytes;
    }
    const auto result = copy(context, {begin, end}, progress.options());
    agree(context.communicator, kMovePhase, result.failure);
    progress.add(result.bytes);
    begin = end;
  }
}

/// Of cut tensors, what this rank has to read for the others as well. Adds to `read`.
TransferResult read_shares(const FillContext& context, const DescribedTarget& described,
                           const PlannedFill& planned, const Storages& storages,
                           const std::vector<Transfer>& cuts, uint64_t& read) {
  TransferOptions options = context.transfer_options(kMovePhase);
  options.progress = nullptr;  // it shows when it has gone to the others
  try {
    const auto shares = shares_to_read(context, described, planned, storages, cuts);
    for (const Transfer& share : shares) read += wire_bytes(share.layout);
    return copy(context, shares, options);
  } catch (...) {
    return {0, describe_current_exception(context.communicator.rank(), kMovePhase)};
  }
}

/// What comes from this rank's sources. Of a live teacher in shards nothing is read.
uint64_t read_bytes(const PlannedFill& planned, const std::vector<Transfer>& transfers) {
  uint64_t bytes = 0;
  if (planned.decision.is_in_shards) return bytes;
  for (const Transfer& transfer : transfers) {
    if (!std::holds_alternative<Received>(transfer.source)) bytes += wire_bytes(transfer.layout);
  }
  return bytes;
}

}  // namespace

MovedBytes move(const FillContext& context, const DescribedTarget& described,
                const PlannedFill& planned, const Storages& storages, LinkCount& links) {
  auto transfers =
      make_transfers(context, described, planned, storages, GroupsToMove::kOfTheTeacher);
  uint64_t read = read_bytes(planned, transfers);
  if (!planned.every_rank_reads() && !planned.redistributes) {
    CutSupply supply;
    if (planned.reads_in_turns()) {
      supply = {CutsFrom::kReaders, [&](const std::vector<Transfer>& cuts) {
                  return read_shares(context, described, planned, storages, cuts, read);
                }};
    }
    const uint64_t sent = send_transfers(context, std::move(transfers), supply, links, kMovePhase);
    return {sent, read};
  }
  SplitProgress progress(context, kMovePhase, transfers);
  std::vector<Transfer> cuts = take_cuts(transfers);
  read_on_every_rank(context, transfers, progress);
  exchange_cuts(context, std::move(cuts), {CutsFrom::kHolders}, links, progress);
  return {progress.done(), read};
}

}  // namespace fakescore::detail
