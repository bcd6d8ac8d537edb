#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace fakescore::detail {

/// Whether a GPU still takes work. After an error such as an illegal access none of the process's
/// calls to it succeeds any more.
bool is_usable(at::Device device) noexcept;

/// Never frees them. LibTorch ends the process where memory that several streams have used is freed
/// on a GPU that is of no more use.
void keep_for_good(std::vector<at::Tensor> tensors) noexcept;

}  // namespace fakescore::detail
