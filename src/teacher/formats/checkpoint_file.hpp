#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "fakescore/tensor/digest.hpp"
#include "teacher/file/mapped_file.hpp"

namespace fakescore::detail {

struct CheckpointTensor {
  std::string name;
  std::vector<int64_t> sizes;
  at::ScalarType dtype = at::kFloat;
  size_t offset = 0;                 ///< of its first element, in bytes from the file's beginning
  bool is_contiguous = false;        ///< its bytes from there on are its elements, row-major
  std::function<at::Tensor()> read;  ///< a view of the mapped file where that can be
};

/// What one file holds, of whichever format; the tensors keep the file mapped.
struct CheckpointFile {
  std::vector<CheckpointTensor> tensors;  ///< by offset
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
