#include "fill/replicas.hpp"

#include <map>
#include <set>
#include <utility>

#include "comm/bulk/collect.hpp"
#include "comm/host.hpp"
#include "error/wire.hpp"
#include "fakescore/comm/run_agreed.hpp"
#include "fill/shards.hpp"
#include "tensor/boxes.hpp"
#include "tensor/shard_wire.hpp"

namespace fakescore::detail {

BytesByHosts count_by_hosts(const std::vector<int>& hosts, const std::vector<KeptTensor>& tensors) {
  BytesByHosts bytes;
  for (const KeptTensor& tensor : tensors) {
    std::map<Box, std::set<int>> hosts_of;
    for (size_t rank = 0; rank < hosts.size(); ++rank) {
      hosts_of[tensor.kept[rank]].insert(hosts[rank]);
    }
    for (const auto& [box, of_box] : hosts_of) {
      const uint64_t size = static_cast<uint64_t>(elements_of(box)) * tensor.element_bytes;
      bytes.once += size;
      bytes.again += size * (of_box.size() - 1);
    }
  }
  return bytes;
}

namespace {

constexpr int kRank = 0;  ///< which compares

std::vector<Box> boxes_of(const Manifest& manifest) {
  std::vector<Box> boxes;
  for (int64_t group = 0; group < manifest.alias_groups(); ++group) {
    boxes.push_back(shard_of(manifest.first_of_group(group)).box);
  }
  return boxes;
}

bool is_much(const std::vector<std::string>& described, const Manifest& manifest) {
  std::vector<std::string> host_ids;
  std::vector<KeptTensor> tensors;
  for (int64_t group = 0; group < manifest.alias_groups(); ++group) {
    tensors.push_back({c10::elementSize(manifest.first_of_group(group).dtype), {}});
  }
  for (const std::string& text : described) {
    auto [host, boxes] = from_wire<std::string, std::vector<Box>>(text, "a rank's parts");
    host_ids.push_back(host);
    for (size_t i = 0; i < tensors.size(); ++i) tensors[i].kept.push_back(std::move(boxes.at(i)));
  }
  const BytesByHosts bytes = count_by_hosts(number_hosts(host_ids), tensors);
  return kMuchReadAgain * bytes.again > bytes.once;
}

}  // namespace

bool hosts_keep_the_same_parts(Communicator& communicator, const Manifest& own,
                               const std::string& phase) {
  const auto described = collect_at(communicator, kRank, to_wire(host_id(), boxes_of(own)), phase);
  std::string found;
  run_agreed(communicator, phase, ErrorCode::kInternal, [&] {
    if (communicator.rank() == kRank) found = is_much(described, own) ? "yes" : "no";
  });
  return communicator.broadcast_message(found, kRank, phase) == "yes";
}

}  // namespace fakescore::detail
