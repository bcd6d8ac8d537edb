#include "factory/host_memory.hpp"

#include <fstream>
#include <string>

namespace fakescore::detail {

uint64_t peak_host_bytes() {
  std::ifstream status("/proc/self/status");
  std::string field;
  while (status >> field) {
    uint64_t kibibytes = 0;
    if (field == "VmHWM:" && status >> kibibytes) return kibibytes * 1024;
  }
  return 0;
}

}  // namespace fakescore::detail
