#pragma once

#include "teacher/formats/safetensors/safetensors_header.hpp"
#include "teacher/formats/torch_file/torch_tensor.hpp"
#include "tensor/row_major.hpp"

namespace fakescore::detail {

/// An entry of the safetensors file that lies at `file`, for read_torch_tensor. The header's reader
/// has refused shapes whose strides overflow.
inline TorchTensor stored_tensor(const SafetensorsEntry& entry, const std::byte* file) {
  return {.dtype = entry.dtype,
          .sizes = entry.sizes,
          .strides = row_major_strides(entry.sizes).value(),
          .memory = {file + entry.begin, entry.end - entry.begin}};
}

}  // namespace fakescore::detail
