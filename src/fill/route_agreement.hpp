#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fakescore/comm/communicator.hpp"
#include "transfer/transfer.hpp"

namespace fakescore::detail {

/// Who has what cut tensors are made of.
enum class CutsFrom {
  kRoot,     ///< the root of each (TransferLayout::root)
  kHolders,  ///< each rank what it holds (Cut::held)
  kReaders,  ///< files that all ranks see
};

/// Collective. Gives cut tensors, of which each rank knows what it keeps and what it has, their
/// routes, which `root` works out for all ranks: it alone learns of all boxes. `hosts` has the
/// number of each rank's host. `round_bytes` are those of whole tensors that travel at a time.
/// Returns the longest delay.
int agree_on_routes(Communicator& communicator, const std::vector<int>& hosts, int root,
                    CutsFrom from, uint64_t round_bytes, std::vector<Transfer>& cuts,
                    const std::string& phase);

}  // namespace fakescore::detail
