#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace fakescore::detail {

/// Peak resident set of this process in bytes (VmHWM of /proc/self/status); 0 where unknown.
uint64_t peak_host_bytes();

/// Something that bounds the memory of this process, and of others with the same id together.
struct MemoryLimit {
  std::string id;    ///< equal on the ranks that share it, different on all others
  std::string name;  ///< for messages
  uint64_t available = 0;
};

/// This machine's memory, and the version 2 control groups around this process that have a limit.
/// Empty where the kernel says nothing. `root` is where /proc and /sys are looked for.
std::vector<MemoryLimit> memory_limits(const std::filesystem::path& root = "/");

}  // namespace fakescore::detail
