#pragma once

#include <filesystem>
#include <memory>

#include "fakescore/teacher/teacher_source.hpp"

namespace fakescore::detail {

/// Whether `path` is what torch.distributed.checkpoint saved: a folder that holds a file
/// `.metadata`, that file itself, a folder of HuggingFaceStorageWriter's shards, or one rank's
/// `.distcp` file, which alone cannot be opened.
bool is_distributed_checkpoint(const std::filesystem::path& path);

/// Opens it, without reading a weight. `key`, where it is not empty, chooses the tensors whose
/// names begin with "KEY." and removes that. Formats: torch/distributed/checkpoint/metadata.py,
/// filesystem.py and hf_storage.py of PyTorch 2.11. Throws TeacherError naming the file and the
/// tensor.
std::unique_ptr<Teacher> open_distributed_checkpoint(const std::filesystem::path& path,
                                                     const std::string& key);

}  // namespace fakescore::detail
