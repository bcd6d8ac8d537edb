#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "fakescore/tensor/digest.hpp"
#include "teacher/file/mapped_file.hpp"
#include "teacher/file/stored_tensor.hpp"

namespace fakescore::detail {

/// What one file holds, of whichever format. The tensors' memory is that of the mapped file.
struct CheckpointFile {
  std::vector<StoredTensor> tensors;  ///< in the order of their memory
  std::map<std::string, std::string> metadata;
  Digest header;  ///< of what says which tensors there are, and where
};

/// Opens a file by what it begins with. `key` says where a PyTorch file nests its state dict.
/// Throws TeacherError naming the file, also for a key that its format does not have.
CheckpointFile open_checkpoint_file(const std::shared_ptr<const MappedFile>& file,
                                    const std::string& key);

/// A safetensors file: https://huggingface.co/docs/safetensors/index#format.
CheckpointFile open_safetensors_file(const std::shared_ptr<const MappedFile>& file);

/// What torch.save or torch.jit.save wrote; of it, the state dict at `key`.
CheckpointFile open_torch_file(const std::shared_ptr<const MappedFile>& file,
                               const std::string& key);

}  // namespace fakescore::detail
