#pragma once

#include <ATen/Functions.h>

#include <cstddef>
#include <memory>
#include <span>
#include <utility>

namespace fakescore::detail {

/// The whole storage of a tensor as a 1-D uint8 tensor that shares it.
inline at::Tensor storage_bytes(const at::Tensor& tensor) {
  const auto bytes = static_cast<int64_t>(tensor.storage().nbytes());
  return at::empty({0}, tensor.options().dtype(at::kByte).requires_grad(false))
      .set_(tensor.storage(), 0, {bytes}, {1});
}

/// The elements of a contiguous tensor as a 1-D uint8 tensor that shares them.
inline at::Tensor element_bytes(const at::Tensor& tensor) {
  // Not reshape: a dimension of one element may have any stride, which it would keep.
  return tensor.detach().as_strided({tensor.numel()}, {1}).view(at::kByte);
}

/// Memory as a 1-D uint8 tensor, which must not be written, and keeps `owner`.
inline at::Tensor read_only_bytes(std::span<const std::byte> memory,
                                  std::shared_ptr<const void> owner) {
  return at::from_blob(
      const_cast<std::byte*>(memory.data()), {static_cast<int64_t>(memory.size())},
      [owner = std::move(owner)](void*) {}, at::kByte);
}

/// Bytes [begin, begin + size) of a 1-D uint8 tensor, which they share.
inline at::Tensor part(const at::Tensor& bytes, size_t begin, size_t size) {
  return bytes.narrow(0, static_cast<int64_t>(begin), static_cast<int64_t>(size));
}

}  // namespace fakescore::detail
