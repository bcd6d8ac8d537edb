#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "core/teacher/dcp/sharded_tensor.hpp"
#include "core/teacher/pickle/pickle_value.hpp"

namespace fakescore::detail {

/// Whether torch.distributed.checkpoint writes this global into a `.metadata` file: the dataclasses
/// of its metadata.py and filesystem.py, torch.Size, dtypes, layouts and paths.
bool allowed_in_dcp_metadata(const std::string& global);

/// The tensors that a `.metadata` file names below `key` (all of them where it is empty), under
/// their full names. What is no tensor (numbers, a generator's state, strings) is left out.
/// Every tensor's chunks cover it. `pickle_bytes`, the pickle's length, bounds the work and the
/// memory for one that names an object many times. Throws TeacherError naming `file` and the
/// tensor.
std::vector<ShardedTensor> read_dcp_metadata(const PickleValue& metadata, const std::string& key,
                                             size_t pickle_bytes,
                                             const std::filesystem::path& file);

}  // namespace fakescore::detail
