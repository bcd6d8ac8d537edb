#include "fakescore/core/digest.hpp"

#include <cstdio>
#include <cstring>

namespace fakescore {
namespace {

void accumulate(Digest& sum, const Digest& share) noexcept {
  sum.low += share.low;
  sum.high += share.high;
}

}  // namespace

Digest digest_bytes(const void* data, size_t size) noexcept {
  const auto* bytes = static_cast<const unsigned char*>(data);
  const size_t words = size / sizeof(uint64_t);
  Digest sum = digest_word(size, ~uint64_t{0} - 1);
  for (size_t i = 0; i < words; ++i) {
    uint64_t word = 0;
    std::memcpy(&word, bytes + i * sizeof(word), sizeof(word));
    accumulate(sum, digest_word(word, i));
  }
  if (const size_t rest = size % sizeof(uint64_t); rest != 0) {
    uint64_t word = 0;
    std::memcpy(&word, bytes + words * sizeof(word), rest);
    accumulate(sum, digest_word(word, words));
  }
  return sum;
}

Digest digest_tensor(const at::Tensor& tensor) {
  const at::Tensor elements = tensor.detach().resolve_conj().resolve_neg().contiguous();
  return digest_bytes(elements.const_data_ptr(), elements.nbytes());
}

void DigestSequence::add(const Digest& digest) noexcept {
  accumulate(sum_, digest_word(digest.low, words_++));
  accumulate(sum_, digest_word(digest.high, words_++));
}

std::string to_string(const Digest& digest) {
  char text[33];
  std::snprintf(text, sizeof(text), "%016llx%016llx",
                static_cast<unsigned long long>(digest.high),  // NOLINT: printf's own type
                static_cast<unsigned long long>(digest.low));
  return text;
}

}  // namespace fakescore
