#pragma once

#include <string>
#include <vector>

#include "fakescore/comm/communicator.hpp"

namespace fakescore::detail {

/// Which ranks are on which host.
struct JobHosts {
  std::vector<std::vector<int>> ranks;  ///< by host, in the order of their first ranks
  int host = 0;                         ///< this rank's
  int place = 0;                        ///< this rank's among those of its host

  int count() const noexcept { return static_cast<int>(ranks.size()); }
  int ranks_per_host() const noexcept { return static_cast<int>(ranks.front().size()); }
};

/// Collective. The number of each rank's host, by rank, in the order of their first ranks.
std::vector<int> hosts_of_ranks(Communicator& communicator, const std::string& what);

/// Collective. Throws ConfigError, on every rank, where hosts have different numbers of ranks.
JobHosts find_hosts(Communicator& communicator);

}  // namespace fakescore::detail
