#include "fill/described_target.hpp"

#include <c10/util/StringUtil.h>

#include <string>
#include <utility>

#include "fakescore/error.hpp"
#include "fill/given_memory.hpp"
#include "fill/shards.hpp"
#include "tensor/boxes.hpp"

namespace fakescore::detail {

namespace {

void check_recorded(const FillTarget& target) {
  if (target.recorded.empty()) return;
  if (target.recorded.size() != target.tensors.size()) {
    throw ConfigError("recorded",
                      "lists " + std::to_string(target.recorded.size()) + " tensors for " +
                          std::to_string(target.tensors.size()) + " to fill",
                      "list one for each tensor, undefined where there is none");
  }
  for (size_t i = 0; i < target.tensors.size(); ++i) {
    const NamedTensor& entry = target.tensors[i];
    const at::Tensor& recorded = target.recorded[i];
    const at::IntArrayRef sizes =
        entry.shard ? at::IntArrayRef(whole_sizes(*entry.shard)) : entry.tensor.sizes();
    if (!recorded.defined() || recorded.sizes() == sizes) continue;
    throw BuildError(entry.name,
                     c10::str("has sizes ", sizes, ", but was made with sizes ", recorded.sizes()),
                     "fill it before it gets another shape");
  }
}

}  // namespace

std::vector<NamedTensor> given_tensors(const FillTarget& target) {
  return target.storage == StoragePolicy::kGiven ? target.tensors : shards_of(target.tensors);
}

DescribedTarget describe_target(FillTarget target) {
  check_recorded(target);
  require_memory(given_tensors(target));
  Manifest manifest(target.tensors);
  check_shards(manifest);
  auto occupied = occupied_bytes_by_group(manifest);
  Manifest whole = manifest.whole();
  auto whole_occupied = occupied_bytes_by_group(whole);
  return {std::move(target), std::move(manifest), std::move(occupied), std::move(whole),
          std::move(whole_occupied)};
}

}  // namespace fakescore::detail
