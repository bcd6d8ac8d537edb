#include <array>
#include <cstring>

#include "fuzz/fuzz_target.hpp"

namespace fakescore::fuzz {
namespace {

constexpr size_t kLengthBytes = 8;

/// What headers, and what readers of them trip over, are made of.
constexpr std::array<std::string_view, 40> kHeaderParts{
    R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})",
    R"({"dtype":"U8","shape":[],"data_offsets":[0,1]})",
    R"("dtype":)",
    R"("shape":)",
    R"("data_offsets":)",
    R"("__metadata__":)",
    R"("DCP_SHARDING_INFO":)",
    R"("saved_offsets":)",
    R"("x":)",
    R"("F4")",
    R"("F8_E5M2FNUZ")",
    R"("BF16")",
    R"("C64")",
    R"("BOOL")",
    R"("U64")",
    "null",
    "true",
    "[]",
    "{}",
    "[0,0]",
    "0",
    "1",
    "-1",
    "1.5",
    "1e999",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "\"",
    ",",
    ":",
    "[",
    "]",
    "{",
    "}",
    "\\u0000",
    "\\ud800",
    "\xff"};

std::string change_header(std::string header, Random& random, size_t max) {
  const size_t at = random() % (header.size() + 1);
  switch (random() % 4) {
    case 0:
      header.insert(at, kHeaderParts[random() % kHeaderParts.size()]);
      return header;
    case 1:  // a stretch again, or once less
      if (random() % 2 == 0) return header.erase(at, random() % 24);
      return header.insert(random() % (header.size() + 1), header.substr(at, random() % 64));
    case 2: {  // another number
      const size_t digit = header.find_first_of("0123456789", at);
      if (digit == std::string::npos) break;
      const size_t end = header.find_first_not_of("0123456789", digit);
      return header.replace(digit, std::min(end, header.size()) - digit,
                            kHeaderParts[20 + random() % 10]);
    }
    default:
      break;
  }
  return mutate_bytes(std::move(header), max);
}

}  // namespace

std::string mutate_safetensors(const std::string& file, Random& random, size_t max) {
  if (file.size() < kLengthBytes || max < 2 * kLengthBytes || random() % 16 == 0) {
    return mutate_bytes(file, max);
  }
  uint64_t length = 0;
  std::memcpy(&length, file.data(), kLengthBytes);
  length = std::min<uint64_t>(length, file.size() - kLengthBytes);
  std::string header = file.substr(kLengthBytes, length);
  std::string data = file.substr(kLengthBytes + length);
  if (random() % 8 == 0) {
    data = mutate_bytes(std::move(data), max / 2);
  } else {
    header = change_header(std::move(header), random, max / 2);
  }
  length = header.size();
  std::string changed(reinterpret_cast<const char*>(&length), kLengthBytes);
  return (changed + header + data).substr(0, max);
}

}  // namespace fakescore::fuzz
