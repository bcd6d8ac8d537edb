#include "fill/host_memory.hpp"

#include <algorithm>
#include <fstream>
#include <optional>

#include "comm/host.hpp"

namespace fakescore::detail {
namespace {

namespace fs = std::filesystem;

/// The number after `field` in a file of names and numbers, such as those of /proc.
std::optional<uint64_t> read_field(const fs::path& path, const std::string& field) {
  std::ifstream file(path);
  std::string word;
  uint64_t value = 0;
  while (file >> word) {
    if (word == field && file >> value) return value;
  }
  return std::nullopt;
}

/// The kernel gives a group's file cache back before it runs out.
std::optional<uint64_t> available_in_group(const fs::path& group) {
  uint64_t most = 0;
  uint64_t used = 0;
  if (!(std::ifstream(group / "memory.max") >> most)) return std::nullopt;  // "max", or none
  if (!(std::ifstream(group / "memory.current") >> used)) return std::nullopt;
  const uint64_t cache = read_field(group / "memory.stat", "inactive_file").value_or(0) +
                         read_field(group / "memory.stat", "active_file").value_or(0);
  used -= std::min(used, cache);
  return most - std::min(most, used);
}

/// The group of this process as its namespace names it; empty where there is no version 2.
std::string own_group(const fs::path& root) {
  std::ifstream file(root / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("0::/", 0) == 0) return line.substr(4);
  }
  return "";
}

}  // namespace

uint64_t peak_host_bytes() { return read_field("/proc/self/status", "VmHWM:").value_or(0) * 1024; }

std::vector<MemoryLimit> memory_limits(const fs::path& root) {
  std::vector<MemoryLimit> limits;
  const std::string machine = host_id(root);
  if (machine.empty()) return limits;  // who shares them could not be told
  if (const auto free = read_field(root / "proc/meminfo", "MemAvailable:")) {
    const uint64_t swap = read_field(root / "proc/meminfo", "SwapFree:").value_or(0);
    limits.push_back({machine, "this machine", (*free + swap) * 1024});
  }
  std::error_code ignored;
  const fs::path space = fs::read_symlink(root / "proc/self/ns/cgroup", ignored);
  for (fs::path group = own_group(root);; group = group.parent_path()) {
    if (const auto available = available_in_group(root / "sys/fs/cgroup" / group)) {
      limits.push_back({machine + " " + space.string() + " /" + group.string(),
                        "the control group /" + group.string(), *available});
    }
    if (group.empty()) return limits;
  }
}

}  // namespace fakescore::detail
