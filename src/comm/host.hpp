#pragma once

#include <filesystem>
#include <string>

namespace fakescore::detail {

/// Which machine this process runs on: its kernel's boot id. Equal on all processes of one machine
/// since it was started, containers included, whatever host names those have; empty where the
/// kernel does not say. `root` is where /proc is looked for.
std::string host_id(const std::filesystem::path& root = "/");

/// What people call this host, for messages. Containers of several machines may all have one name.
std::string host_name();

}  // namespace fakescore::detail
