#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "teacher/formats/dcp/shard_boxes.hpp"

namespace fakescore::detail {

/// Where a chunk's values are: an item of a file. The item says itself what it is: an archive of
/// torch.save that holds one tensor, or a safetensors file that reaches to the end of its file and
/// holds the chunk under its tensor's name.
struct ChunkPlace {
  size_t file = 0;      ///< its number in the checkpoint's list of files
  uint64_t offset = 0;  ///< where the item begins, in bytes
  uint64_t length = 0;  ///< bytes of the archive; of safetensors, those of the chunk alone
};

struct TensorChunk {
  Box box;
  ChunkPlace place;
};

/// A tensor and the chunks that it was saved in.
struct ShardedTensor {
  std::string name;
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> sizes;
  std::vector<TensorChunk> chunks;
};

/// Leaves out the chunks without elements and repetitions of the same box, sorts the rest by their
/// boxes, and checks that they cover the tensor exactly. Throws TeacherError naming `source` and
/// the tensor.
void check_chunks(ShardedTensor& tensor, const std::filesystem::path& source);

}  // namespace fakescore::detail
