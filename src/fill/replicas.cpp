#include "fill/replicas.hpp"

#include <map>

#include "comm/bulk/collect.hpp"
#include "comm/host.hpp"
#include "error/wire.hpp"
#include "fakescore/comm/run_agreed.hpp"
#include "fakescore/tensor/digest.hpp"
#include "tensor/shard_wire.hpp"

namespace fakescore::detail {
namespace {

constexpr int kRank = 0;  ///< which compares

/// Of every tensor that is cut; the names are the same on every rank.
std::string digest_of_parts(const Manifest& manifest) {
  std::vector<Box> boxes;
  for (const TensorSpec& spec : manifest.specs()) {
    if (spec.shard) boxes.push_back(spec.shard->box);
  }
  const std::string text = to_wire(boxes);
  return to_string(digest_bytes(text.data(), text.size()));
}

bool is_on_two_hosts(const std::vector<std::string>& ranks) {
  std::map<std::string, std::string> host_of;
  for (const std::string& rank : ranks) {
    const auto [host, parts] = from_wire<std::string, std::string>(rank, "a rank's parts");
    if (host_of.emplace(parts, host).first->second != host) return true;
  }
  return false;
}

}  // namespace

bool hosts_keep_the_same_parts(Communicator& communicator, const Manifest& own,
                               const std::string& phase) {
  const auto ranks =
      collect_at(communicator, kRank, to_wire(host_id(), digest_of_parts(own)), phase);
  std::string found;
  run_agreed(communicator, phase, ErrorCode::kInternal, [&] {
    if (communicator.rank() == kRank) found = is_on_two_hosts(ranks) ? "yes" : "no";
  });
  return communicator.broadcast_message(found, kRank, phase) == "yes";
}

}  // namespace fakescore::detail
