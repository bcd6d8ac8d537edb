#include "comm/host.hpp"

#include <unistd.h>

#include <fstream>

namespace fakescore::detail {

std::string host_id(const std::filesystem::path& root) {
  std::ifstream file(root / "proc/sys/kernel/random/boot_id");
  std::string line;
  std::getline(file, line);
  return line;
}

std::string host_name() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return name;
}

}  // namespace fakescore::detail
