#pragma once

#include <map>
#include <string>
#include <vector>

#include "fakescore/tensor/digest.hpp"
#include "teacher/file/stored_tensor.hpp"

namespace fakescore::detail {

/// What one file holds, of whichever format. The tensors' memory is that of the mapped file.
struct CheckpointFile {
  std::vector<StoredTensor> tensors;  ///< in the order of their memory
  std::map<std::string, std::string> metadata;
  Digest header;  ///< of what says which tensors there are, and where
};

}  // namespace fakescore::detail
