#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "fakescore/comm/control_plane.hpp"

namespace fakescore::detail {

/// Which machine this process runs on: its kernel's boot id. Equal on all processes of one machine
/// since it was started, containers included, whatever host names those have; empty where the
/// kernel does not say. `root` is where /proc is looked for.
std::string host_id(const std::filesystem::path& root = "/");

/// Whether all ranks run on one machine, of a comparison of their host ids; where the kernel does
/// not say, they do not.
inline bool are_on_one_host(const Comparison& host_ids) {
  return host_ids.is_same() && !host_ids.of_rank_0.empty();
}

/// By rank, a number for its host, of the ranks' host ids: of one that the kernel does not say, a
/// number of its own.
std::vector<int> number_hosts(const std::vector<std::string>& host_ids);

/// What people call this host, for messages. Containers of several machines may all have one name.
std::string host_name();

}  // namespace fakescore::detail
