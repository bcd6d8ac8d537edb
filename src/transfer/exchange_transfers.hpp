#pragma once

#include <vector>

#include "fakescore/comm/communicator.hpp"
#include "transfer/transfer.hpp"

namespace fakescore::detail {

/// Rounds that are on their way at a time, and that a box needs at least before it can be passed
/// on.
inline constexpr int kRoundsInFlight = 4;

/// Bytes of whole tensors, of which parts travel in one round.
size_t exchanged_at_once(at::Device device, const TransferOptions& options);

/// Brings the parts of cut tensors (Transfer::cut) to the ranks that keep them, in buckets, several
/// in flight: each rank sends what it has of a bucket, in its source or in its place, to those that
/// keep a part of it, and no rank receives more than its own parts. All destinations lie on one
/// device. Beside the tensors a rank holds what it sends and receives of a few buckets (in host
/// memory of 8 times options.bucket_bytes, and nothing of what lies in one stretch on both sides),
/// and the root of whole tensors a few buckets more if they go to a GPU.
///
/// Collective, with the same layouts everywhere. `latest` is the longest delay of any rank's route.
/// Streams are as of broadcast_transfers. Throws CommError for a lost peer.
TransferResult exchange_transfers(Communicator& communicator,
                                  const std::vector<Transfer>& transfers, int latest,
                                  const TransferOptions& options);

}  // namespace fakescore::detail
