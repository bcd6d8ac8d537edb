#pragma once

#include <filesystem>

#include "teacher/source/checkpoint_folder.hpp"

namespace fakescore::detail {

/// Reads the index of a sharded checkpoint, a JSON object whose "weight_map" maps names to files
/// beside it (*.safetensors.index.json, *.bin.index.json). Throws TeacherError naming it.
CheckpointFiles read_checkpoint_index(const std::filesystem::path& index);

/// Throws TeacherError naming the index where files that it names cannot be reached.
void check_shards_are_there(const CheckpointFiles& found);

}  // namespace fakescore::detail
