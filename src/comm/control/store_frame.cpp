#include "comm/control/store_frame.hpp"

#include <cstring>

namespace fakescore::detail {

using Bytes = std::vector<uint8_t>;

Bytes pack(const Step& step, const void* data, size_t length) {
  const std::string head = encode_step(step);
  const uint32_t head_length = static_cast<uint32_t>(head.size());
  Bytes packed(sizeof head_length + head.size() + length);
  std::memcpy(packed.data(), &head_length, sizeof head_length);
  std::memcpy(packed.data() + sizeof head_length, head.data(), head.size());
  if (length > 0) std::memcpy(packed.data() + sizeof head_length + head.size(), data, length);
  return packed;
}

Frame unpack(const Bytes& packed) {
  uint32_t head_length = 0;
  if (packed.size() < sizeof head_length) return {};
  std::memcpy(&head_length, packed.data(), sizeof head_length);
  if (packed.size() - sizeof head_length < head_length) return {};
  const auto head = packed.begin() + sizeof head_length;
  const auto step = decode_step(std::string(head, head + head_length));
  return {step.value_or(Step{}), Bytes(head + head_length, packed.end())};
}

}  // namespace fakescore::detail
