#include "fill/described_target.hpp"

#include <utility>

#include "fill/check_options.hpp"
#include "fill/given_memory.hpp"

namespace fakescore::detail {

DescribedTarget describe_target(FillTarget target) {
  require_whole(target.tensors);
  if (target.storage == StoragePolicy::kGiven) require_memory(target.tensors);
  Manifest manifest(target.tensors);
  auto occupied = occupied_bytes_by_group(manifest);
  return {std::move(target), std::move(manifest), std::move(occupied)};
}

}  // namespace fakescore::detail
