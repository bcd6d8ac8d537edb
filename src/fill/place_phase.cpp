#include "fill/place_phase.hpp"

#include <string>
#include <vector>

#include "comm/host.hpp"
#include "error/wire.hpp"
#include "fakescore/comm/run_agreed.hpp"
#include "fakescore/error.hpp"
#include "fill/host_memory.hpp"

namespace fakescore::detail {
namespace {

constexpr const char* kPlacePhase = "place";

/// What ranks share.
struct Shared {
  std::vector<int> hosts;       ///< by rank, the number of its host
  std::vector<size_t> sharers;  ///< by limit: how many ranks have it, this one included
};

Shared find_shared(Communicator& communicator, const std::vector<MemoryLimit>& limits) {
  std::vector<std::string> own;
  for (const MemoryLimit& limit : limits) own.push_back(limit.id);
  Shared shared{{}, std::vector<size_t>(limits.size())};
  std::vector<std::string> hosts;
  for (const std::string& theirs : communicator.all_gather(to_wire(host_id(), own), kPlacePhase)) {
    const auto [host, ids] =
        from_wire<std::string, std::vector<std::string>>(theirs, "a rank's place");
    hosts.push_back(host);
    for (const std::string& id : ids) {
      for (size_t i = 0; i < limits.size(); ++i) shared.sharers[i] += limits[i].id == id ? 1U : 0U;
    }
  }
  shared.hosts = number_hosts(hosts);
  return shared;
}

/// Of a shard, whoever cut it makes the memory: FSDP2 pads it.
bool is_given(const DescribedTarget& described, int64_t group) {
  return described.target.storage == StoragePolicy::kGiven || described.is_shard(group);
}

void take_given(const DescribedTarget& described, Storages& storages) {
  const Manifest& manifest = described.manifest;
  for (int64_t group = 0; group < manifest.alias_groups(); ++group) {
    if (!is_given(described, group)) continue;
    storages.take(group, described.target.tensors[manifest.index_of_first(group)].tensor);
  }
}

}  // namespace

std::vector<int> place(const FillContext& context, const DescribedTarget& described,
                       Storages& storages) {
  const bool allocates = described.target.storage == StoragePolicy::kAllocate;
  const auto limits =
      allocates && context.device.is_cpu() ? memory_limits() : std::vector<MemoryLimit>();
  Shared shared = find_shared(context.communicator, limits);
  run_agreed(context.communicator, kPlacePhase, ErrorCode::kMemory, [&] {
    take_given(described, storages);
    storages.check_fits(limits, shared.sharers);
    for (int64_t group = 0; group < described.manifest.alias_groups(); ++group) {
      if (!is_given(described, group)) storages.allocate(group);
    }
  });
  return std::move(shared.hosts);
}

}  // namespace fakescore::detail
