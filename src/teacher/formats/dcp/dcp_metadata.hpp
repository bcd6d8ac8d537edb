#pragma once

#include <string>
#include <string_view>

#include "teacher/file/read_budget.hpp"
#include "teacher/formats/dcp/sharded_teacher.hpp"
#include "teacher/formats/pickle/pickle_value.hpp"

namespace fakescore::detail {

/// Whether torch.distributed.checkpoint writes this global into a `.metadata` file: the dataclasses
/// of its metadata.py and filesystem.py, torch.Size, dtypes, layouts and paths.
bool allowed_in_dcp_metadata(std::string_view global);

/// The tensors that a `.metadata` file names below `key` (all of them where it is empty), under
/// their full names, and the files that their chunks lie in. What is no tensor (numbers, a
/// generator's state, strings) is left out. Every tensor's chunks cover it. `budget` is that of the
/// file, which the pickle was read with: an object that it names many times is paid for as often.
/// Throws TeacherError naming the file and the tensor.
ShardedCheckpoint read_dcp_metadata(const PickleValue& metadata, const std::string& key,
                                    ReadBudget& budget);

}  // namespace fakescore::detail
