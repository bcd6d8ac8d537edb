#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "fakescore/export.hpp"

namespace fakescore {

/// A 128-bit fingerprint of bytes: equal bytes give equal digests on every machine, and a
/// difference is missed with a chance of about 2^-64. It finds accidents, not forgery.
struct Digest {
  uint64_t low = 0;
  uint64_t high = 0;
  friend bool operator==(const Digest&, const Digest&) = default;
};

/// The share of the 8-byte little-endian word at `index` in a digest. A digest is the sum of its
/// words' shares, modulo 2^64 in each half, so that words may be visited in any order and by any
/// number of workers. The mixing is SplitMix64's finaliser (Steele, Lea and Flood, "Fast Splittable
/// Pseudorandom Number Generators", 2014) over word and position.
inline Digest digest_word(uint64_t word, uint64_t index) noexcept {
  uint64_t x = word + (index + 1) * 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  x ^= x >> 31;
  const uint64_t y = (x + index) * 0xd6e8feb86659fd93ULL;
  return {x, y ^ (y >> 32)};
}

/// Digest of `size` bytes; a last word of fewer than 8 bytes is padded with zeros, and the size is
/// part of the digest.
FAKESCORE_API Digest digest_bytes(const void* data, size_t size) noexcept;

/// Digest of a CPU tensor's elements in logical (row-major) order; dtype and shape are not in it.
FAKESCORE_API Digest digest_tensor(const at::Tensor& tensor);

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
