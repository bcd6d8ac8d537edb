#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace fakescore::detail {

/// Which machine this process runs on: its kernel's boot id. Equal on all processes of one machine
/// since it was started, containers included, whatever host names those have; empty where the
/// kernel does not say. `root` is where /proc is looked for.
std::string host_id(const std::filesystem::path& root = "/");

/// By rank, a number for its host, of the ranks' host ids: of one that the kernel does not say, a
/// number of its own.
std::vector<int> number_hosts(const std::vector<std::string>& host_ids);

/// What people call this host, for messages. Containers of several machines may all have one name.
std::string host_name();

}  // namespace fakescore::detail
