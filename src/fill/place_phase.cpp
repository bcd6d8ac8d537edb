#include "fill/place_phase.hpp"

#include <sstream>
#include <string>
#include <vector>

#include "fakescore/comm/run_agreed.hpp"
#include "fakescore/error.hpp"
#include "fill/host_memory.hpp"

namespace fakescore::detail {
namespace {

constexpr const char* kPlacePhase = "place";

/// How many ranks share each limit, this one included.
std::vector<size_t> count_sharers(Communicator& communicator,
                                  const std::vector<MemoryLimit>& limits) {
  std::string own;
  for (const MemoryLimit& limit : limits) own += limit.id + "\n";
  std::vector<size_t> sharers(limits.size());
  for (const std::string& theirs : communicator.all_gather(own, kPlacePhase)) {
    std::istringstream lines(theirs);
    for (std::string id; std::getline(lines, id);) {
      for (size_t i = 0; i < limits.size(); ++i) sharers[i] += limits[i].id == id ? 1U : 0U;
    }
  }
  return sharers;
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

void place(const FillContext& context, const DescribedTarget& described, Storages& storages) {
  const bool allocates = described.target.storage == StoragePolicy::kAllocate;
  const auto limits =
      allocates && context.device.is_cpu() ? memory_limits() : std::vector<MemoryLimit>();
  const auto sharers = count_sharers(context.communicator, limits);
  run_agreed(context.communicator, kPlacePhase, ErrorCode::kMemory, [&] {
    take_given(described, storages);
    storages.check_fits(limits, sharers);
    for (int64_t group = 0; group < described.manifest.alias_groups(); ++group) {
      if (!is_given(described, group)) storages.allocate(group);
    }
  });
}

}  // namespace fakescore::detail
