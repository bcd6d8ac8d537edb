#include "fill/move_phase.hpp"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <utility>
#include <vector>

#include "comm/control/agreement.hpp"
#include "fill/group_transfers.hpp"
#include "transfer/broadcast_transfers.hpp"
#include "transfer/copy_transfers.hpp"

namespace fakescore::detail {
namespace {

constexpr const char* kMovePhase = "move";
constexpr uint64_t kBytesBetweenAgreements = uint64_t{1} << 30;

TransferResult copy(Communicator& communicator, const std::vector<Transfer>& transfers,
                    const TransferOptions& options) {
  const auto work = communicator.begin_work(options.phase);
  return copy_transfers(transfers, communicator.rank(), options);
}

/// Those of a GPU are on the calling thread's stream.
void wait_for_copies(const FillContext& context, TransferResult& result) {
  try {
    const c10::impl::VirtualGuardImpl streams(context.device.type());
    streams.getStream(context.device).synchronize();
  } catch (...) {
    if (result.failure) return;
    result.failure = describe_current_exception(context.communicator.rank(), kMovePhase);
  }
}

/// Now and then all agree that they are still there, so that a slow rank is not taken for a lost
/// one, and a failed one stops the others.
uint64_t read_on_every_rank(const FillContext& context, const std::vector<Transfer>& transfers) {
  TransferOptions options = context.transfer_options(kMovePhase);
  uint64_t total = 0;
  for (const Transfer& transfer : transfers) total += wire_bytes(transfer.layout);
  uint64_t done = 0;
  if (const ProgressCallback& tell = context.options.progress) {
    options.progress = [&tell, total, &done](const Progress& progress) {
      tell({progress.phase, done + progress.done_bytes, total});
    };
  }
  for (auto begin = transfers.begin(); begin != transfers.end();) {
    auto end = begin;
    // Ranks may have parts of different sizes, and agree as often.
    for (uint64_t bytes = 0; end != transfers.end() && bytes < kBytesBetweenAgreements; ++end) {
      bytes += end->whole_bytes;
    }
    TransferResult result = copy(context.communicator, {begin, end}, options);
    if (!context.device.is_cpu()) wait_for_copies(context, result);
    agree(context.communicator, kMovePhase, result.failure);
    done += result.bytes;
    begin = end;
  }
  return done;
}

}  // namespace

uint64_t move(const FillContext& context, const DescribedTarget& described,
              const PlannedFill& planned, const Storages& storages) {
  const auto transfers =
      make_transfers(context, described, planned, storages, GroupsToMove::kOfTheTeacher);
  if (planned.every_rank_reads()) return read_on_every_rank(context, transfers);
  const auto result =
      broadcast_transfers(context.communicator, transfers, context.transfer_options(kMovePhase));
  agree(context.communicator, kMovePhase, result.failure);
  return result.bytes;
}

}  // namespace fakescore::detail
