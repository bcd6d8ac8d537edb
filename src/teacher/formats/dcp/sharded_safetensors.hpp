#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "teacher/formats/dcp/sharded_teacher.hpp"

namespace fakescore::detail {

/// The shares in a folder, in the order of their names; empty where there are none or
/// where it cannot be looked into.
std::vector<std::filesystem::path> find_safetensors_shards(const std::filesystem::path& folder);

/// The tensors of these files of a folder, those below `key` (all where it is empty). No file says
/// how large a whole tensor is: it reaches as far as its chunks do. Throws TeacherError naming the
/// file and the tensor: a file without sharding info, chunks that overlap or leave elements out.
ShardedCheckpoint read_safetensors_shards(const std::vector<std::filesystem::path>& files,
                                          const std::string& key,
                                          const std::filesystem::path& folder);

}  // namespace fakescore::detail
