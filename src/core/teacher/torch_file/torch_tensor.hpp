#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/teacher/pickle/pickle_value.hpp"
#include "core/teacher/torch_file/torch_records.hpp"

namespace fakescore::detail {

/// One tensor that torch.save wrote: its elements in the archive, by sizes and strides.
struct TorchTensor {
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> sizes;
  std::vector<int64_t> strides;       ///< in elements; not negative
  std::span<const std::byte> memory;  ///< from the first element to the end of the last
  bool conjugate = false;             ///< the value is the conjugate of what the archive holds
  bool negative = false;              ///< the value is the negative of what the archive holds
};

/// Whether a pickle of an archive may name this global: tensors, their storages and dtypes, plain
/// containers, and what TorchScript writes ("__torch__." and its types of lists).
bool torch_file_allows(const std::string& global);

/// The tensor that `value` stands for, checked against the archive but not touched; nullopt where
/// it stands for something else. `name` is for messages. Throws TeacherError for a tensor of a
/// kind that cannot be read (quantized, sparse, on the meta device, a subclass) and for one that
/// does not fit its storage.
std::optional<TorchTensor> find_torch_tensor(const PickleValue& value, const TorchRecords& records,
                                             const std::string& name);

/// A view of the archive's memory, which `keep` keeps; a copy where that is not aligned, and where
/// the value differs from what is stored.
at::Tensor read_torch_tensor(const TorchTensor& tensor, std::shared_ptr<const void> keep);

}  // namespace fakescore::detail
