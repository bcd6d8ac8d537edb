#pragma once

#include <c10/core/ScalarType.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "fakescore/tensor/manifest.hpp"
#include "transfer/bucket_plan.hpp"

namespace fakescore::detail {

/// How one alias group gets its values.
enum class FillMode : int {
  kInPlace = 0,       ///< the teacher's bytes are the storage's bytes
  kCast = 1,          ///< the teacher's elements, narrower than the module's, are cast on arrival
  kAssemble = 2,      ///< the reading rank first copies teacher tensors into its storage
  kReplay = 3,        ///< some bytes come from no teacher tensor: replayed on the root first
  kReplayOnEach = 4,  ///< of a shard: each rank replays the whole tensor, and keeps its part
};

/// One alias group; `fills` are the teacher tensors that go into it.
struct GroupPlan {
  struct Fill {
    size_t spec = 0;     ///< index into the manifest
    size_t teacher = 0;  ///< index into the teacher's tensors
  };
  int64_t group = 0;
  FillMode mode = FillMode::kInPlace;
  at::ScalarType wire = at::kFloat;  ///< of kCast
  std::vector<Fill> fills;
};

/// What every rank needs to know to move a teacher's bytes.
struct FillPlan {
  std::vector<GroupPlan> groups;  ///< in the order in which they travel: the teacher's own
};

/// Which bytes of a group's storage travel, and in which dtype. `occupied` is the manifest's, by
/// group.
TransferLayout transfer_layout(const GroupPlan& group, const Manifest& manifest,
                               const std::vector<std::vector<ByteRange>>& occupied);

/// Whether two entries of one alias group are the same elements in the same order and reading.
bool same_view(const TensorSpec& a, const TensorSpec& b);

}  // namespace fakescore::detail
