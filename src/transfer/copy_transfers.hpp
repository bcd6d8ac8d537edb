#pragma once

#include <vector>

#include "transfer/transfer.hpp"

namespace fakescore::detail {

/// Fills storages in host memory from their sources, without other ranks: what lies in a file is
/// read into place, in stretches of options.bucket_bytes. `rank` is this one's, for errors. Throws
/// nothing: whatever fails is the result's.
TransferResult copy_transfers(const std::vector<Transfer>& transfers, int rank,
                              const TransferOptions& options);

}  // namespace fakescore::detail
