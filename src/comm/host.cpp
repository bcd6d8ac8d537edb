#include "comm/host.hpp"

#include <unistd.h>

#include <fstream>
#include <map>

namespace fakescore::detail {

std::string host_id(const std::filesystem::path& root) {
  std::ifstream file(root / "proc/sys/kernel/random/boot_id");
  std::string line;
  std::getline(file, line);
  return line;
}

std::vector<int> number_hosts(const std::vector<std::string>& host_ids) {
  std::map<std::string, int> numbers;
  std::vector<int> hosts;
  int next = 0;
  for (const std::string& id : host_ids) {
    const bool is_new = id.empty() || numbers.emplace(id, next).second;
    hosts.push_back(is_new ? next++ : numbers.at(id));
  }
  return hosts;
}

std::string host_name() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return name;
}

}  // namespace fakescore::detail
