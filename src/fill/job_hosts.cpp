#include "fill/job_hosts.hpp"

#include <string>

#include "comm/host.hpp"
#include "fakescore/error.hpp"

namespace fakescore::detail {

std::vector<int> hosts_of_ranks(Communicator& communicator, const std::string& what) {
  return number_hosts(communicator.all_gather(host_id(), what));
}

JobHosts find_hosts(Communicator& communicator) {
  JobHosts hosts;
  int rank = 0;
  for (const int host : hosts_of_ranks(communicator, "hosts")) {
    if (host == hosts.count()) hosts.ranks.emplace_back();
    auto& ranks = hosts.ranks[static_cast<size_t>(host)];
    if (rank == communicator.rank()) {
      hosts.host = host;
      hosts.place = static_cast<int>(ranks.size());
    }
    ranks.push_back(rank++);
  }
  for (const auto& ranks : hosts.ranks) {
    if (ranks.size() == hosts.ranks.front().size()) continue;
    throw ConfigError(
        "hosts",
        "have different numbers of ranks: " + std::to_string(hosts.ranks.front().size()) + " and " +
            std::to_string(ranks.size()),
        "start as many ranks on each");
  }
  return hosts;
}

}  // namespace fakescore::detail
