#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace fakescore::detail {

/// One tensor of a file, of whichever format: its elements in the file's memory, by sizes and
/// strides.
struct StoredTensor {
  std::string name;  ///< empty where it is looked up by something else
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> sizes;
  std::vector<int64_t> strides;       ///< in elements; not negative
  std::span<const std::byte> memory;  ///< from the first element to the end of the last
  bool conjugate = false;             ///< the value is the conjugate of what the file holds
  bool negative = false;              ///< the value is the negative of what the file holds
};

/// Whether its memory is its values, in row-major order.
bool is_row_major(const StoredTensor& tensor);

/// A view of the file's memory, which `keep` keeps; a copy where that is not aligned, and where the
/// value differs from what is stored.
at::Tensor read_stored_tensor(const StoredTensor& tensor, std::shared_ptr<const void> keep);

/// The order of their memory in the file; of what begins at one place, the smaller and then the
/// name.
bool lies_before(const StoredTensor& a, const StoredTensor& b);

/// A name that two of them have; null for none.
const std::string* find_repeated_name(const std::vector<StoredTensor>& tensors);

}  // namespace fakescore::detail
