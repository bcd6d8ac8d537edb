#include "fill/job_hosts.hpp"

#include <map>
#include <string>

#include "comm/host.hpp"
#include "fakescore/error.hpp"

namespace fakescore::detail {

JobHosts find_hosts(Communicator& communicator) {
  // Where the kernel does not say, a rank is a host of its own.
  std::string own = host_id();
  if (own.empty()) own = "rank " + std::to_string(communicator.rank());
  JobHosts hosts;
  std::map<std::string, int> numbers;
  int rank = 0;
  for (const std::string& id : communicator.all_gather(own, "hosts")) {
    const int host = numbers.emplace(id, static_cast<int>(numbers.size())).first->second;
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
