#pragma once

#include <c10/util/strides.h>

#include "core/teacher/safetensors_header.hpp"
#include "core/teacher/torch_file/torch_tensor.hpp"

namespace fakescore::detail {

/// An entry of the safetensors file that lies at `file`, for read_torch_tensor.
inline TorchTensor stored_tensor(const SafetensorsEntry& entry, const std::byte* file) {
  const auto strides = c10::contiguous_strides(c10::IntArrayRef(entry.sizes));
  return {.dtype = entry.dtype,
          .sizes = entry.sizes,
          .strides = {strides.begin(), strides.end()},
          .memory = {file + entry.begin, entry.end - entry.begin}};
}

}  // namespace fakescore::detail
