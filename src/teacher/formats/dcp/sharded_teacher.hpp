#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <vector>

#include "fakescore/teacher/teacher_source.hpp"
#include "fakescore/tensor/digest.hpp"
#include "teacher/file/mapped_file.hpp"
#include "teacher/formats/dcp/sharded_tensor.hpp"

namespace fakescore::detail {

/// The tensors of a checkpoint that was saved in shards.
struct ShardedCheckpoint {
  std::vector<std::filesystem::path> files;  ///< those that chunks may lie in, sorted
  std::vector<ShardedTensor> tensors;
  size_t prefix_bytes = 0;  ///< of the tensors' names: what the teacher's leave out
  Digest header;            ///< of what says where the chunks are
  /// The file that says so, where it is one of its own.
  std::shared_ptr<const MappedFile> index;
  TeacherChoice choice;
};

/// A teacher of them. `read` is a view where one chunk covers the tensor and is contiguous and
/// aligned, and otherwise puts the tensor together in memory of its own. Maps the chunks' files and
/// reads nothing of them. Throws TeacherError naming the file and the tensor.
std::unique_ptr<Teacher> make_sharded_teacher(ShardedCheckpoint checkpoint);

}  // namespace fakescore::detail
