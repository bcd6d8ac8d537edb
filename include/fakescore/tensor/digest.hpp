#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "fakescore/export.hpp"
#include "fakescore/tensor/digest_word.hpp"

namespace fakescore {

/// Digest of `size` bytes; a last word of fewer than 8 bytes is padded with zeros, and the size is
/// part of the digest.
FAKESCORE_API Digest digest_bytes(const void* data, size_t size) noexcept;

/// Digest of a whole from the sum of its words' shares and its size in bytes.
FAKESCORE_API Digest digest_of_words(const Digest& sum, uint64_t size) noexcept;

/// Digest of a tensor's elements in logical (row-major) order; dtype and shape are not part of it.
/// It is computed where the tensor is, and is the same on the CPU and on a GPU.
FAKESCORE_API Digest digest_tensor(const at::Tensor& tensor);
/// The digest of each tensor. They may be on different devices; a GPU's results are fetched all at
/// once.
FAKESCORE_API std::vector<Digest> digest_tensors(const std::vector<at::Tensor>& tensors);

/// Digest of a sequence of digests: order matters.
class FAKESCORE_API DigestSequence {
 public:
  void add(const Digest& digest) noexcept;
  Digest value() const noexcept { return sum_; }

 private:
  Digest sum_;
  uint64_t words_ = 0;
};

/// 32 hexadecimal digits.
FAKESCORE_API std::string to_string(const Digest& digest);

}  // namespace fakescore
