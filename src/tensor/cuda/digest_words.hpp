#pragma once

#include <cstdint>

#include "fakescore/tensor/digest_word.hpp"

namespace fakescore::detail {

/// The part of a digest that one of many workers adds up: the shares of words `first`,
/// `first + stride`, ... of `size` bytes. Runs on the GPU, a worker a thread, and on the host.
struct DigestWords {
  const unsigned char* bytes;
  uint64_t size;

  FAKESCORE_HOST_DEVICE Digest operator()(uint64_t first, uint64_t stride) const noexcept {
    const uint64_t whole = size / sizeof(uint64_t);
    const bool is_aligned = reinterpret_cast<uintptr_t>(bytes) % sizeof(uint64_t) == 0;
    Digest sum{0, 0};
    for (uint64_t i = first; i * sizeof(uint64_t) < size; i += stride) {
      uint64_t word = 0;
      if (is_aligned && i < whole) {
        word = reinterpret_cast<const uint64_t*>(bytes)[i];
      } else {
        const uint64_t begin = i * sizeof(uint64_t);
        for (uint64_t k = 0; k < sizeof(uint64_t) && begin + k < size; ++k) {
          word |= static_cast<uint64_t>(bytes[begin + k]) << (8 * k);
        }
      }
      const Digest share = digest_word(word, i);
      sum.low += share.low;
      sum.high += share.high;
    }
    return sum;
  }
};

}  // namespace fakescore::detail
