#include "comm/slurm_nodes.hpp"

namespace fakescore::detail {

std::string first_slurm_host(const std::string& node_list) {
  // Each bracket group gives its first value, and text goes on after it: "rack[1-2]n[01,07]".
  std::string host;
  bool skipping = false;
  bool inside = false;
  for (const char c : node_list) {
    if (c == '[') {
      inside = true;
    } else if (c == ']') {
      inside = false;
      skipping = false;
    } else if (inside && (c == '-' || c == ',')) {
      skipping = true;
    } else if (!inside && c == ',') {
      break;
    } else if (!skipping) {
      host += c;
    }
  }
  return inside ? std::string() : host;
}

}  // namespace fakescore::detail
