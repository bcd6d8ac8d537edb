#pragma once

#include <torch/torch.h>

#include <filesystem>
#include <map>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "fakescore/teacher/teacher_source.hpp"

namespace fakescore::testing {

/// What a checkpoint keeps of tensors that are the same elements of one storage.
enum class TiedNames { kAll, kFirst, kLast };

/// What holds the checkpoint; memory where a file cannot have one of its dtypes.
enum class CheckpointForm { kMemory, kFile, kShards };

/// A checkpoint of a module as plain data, the module's values aside. Numbers are meant modulo what
/// there is.
struct CheckpointPlan {
  CheckpointForm form = CheckpointForm::kMemory;
  TiedNames tied = TiedNames::kAll;
  std::vector<size_t> dropped;                            ///< keys that it lacks
  size_t extra = 0;                                       ///< how many keys no module has
  bool non_persistent = false;                            ///< holds buffers that it should not
  std::vector<std::pair<size_t, at::ScalarType>> stored;  ///< floating tensors in another dtype
  bool contiguous = true;                                 ///< of memory: strides are lost
};

using Checkpoint = std::map<std::string, at::Tensor>;

/// What the checkpoint of `module` holds.
Checkpoint make_checkpoint(const CheckpointPlan& plan, const torch::nn::Module& module);

/// Puts it where the plan says; files go into `folder`.
TeacherSource store(const CheckpointPlan& plan, const Checkpoint& checkpoint,
                    const std::filesystem::path& folder);

std::ostream& operator<<(std::ostream& out, const CheckpointPlan& plan);

}  // namespace fakescore::testing
