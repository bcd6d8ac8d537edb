#include "fakescore/tensor/digest.hpp"

#include <cstdio>
#include <cstring>
#include <map>

#include "tensor/cuda/device_digest.hpp"

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
  Digest sum;
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
  return digest_of_words(sum, size);
}

Digest digest_of_words(const Digest& sum, uint64_t size) noexcept {
  Digest digest = digest_word(size, ~uint64_t{0} - 1);
  accumulate(digest, sum);
  return digest;
}

Digest digest_tensor(const at::Tensor& tensor) { return digest_tensors({tensor}).front(); }

std::vector<Digest> digest_tensors(const std::vector<at::Tensor>& tensors) {
  std::vector<Digest> digests(tensors.size());
  std::map<at::DeviceIndex, std::vector<size_t>> on_gpu;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].is_cuda()) {
      on_gpu[tensors[i].device().index()].push_back(i);
    } else {
      const at::Tensor elements = detail::row_major(tensors[i]);
      digests[i] = digest_bytes(elements.const_data_ptr(), elements.nbytes());
    }
  }
  for (const auto& [device, indices] : on_gpu) {
    std::vector<at::Tensor> group;
    for (const size_t index : indices) group.push_back(tensors[index]);
    const auto values = detail::digest_device_tensors(group);
    for (size_t i = 0; i < indices.size(); ++i) digests[indices[i]] = values[i];
  }
  return digests;
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
