#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define FAKESCORE_HOST_DEVICE __host__ __device__
#else
#define FAKESCORE_HOST_DEVICE
#endif

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
FAKESCORE_HOST_DEVICE inline Digest digest_word(uint64_t word, uint64_t index) noexcept {
  uint64_t x = word + (index + 1) * 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  x ^= x >> 31;
  const uint64_t y = (x + index) * 0xd6e8feb86659fd93ULL;
  return {x, y ^ (y >> 32)};
}

}  // namespace fakescore
