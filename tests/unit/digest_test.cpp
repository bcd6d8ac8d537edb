#include "fakescore/tensor/digest.hpp"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <set>
#include <string>

namespace fakescore {
namespace {

Digest of(const std::string& bytes) { return digest_bytes(bytes.data(), bytes.size()); }

TEST(Digest, HasTheSameValueOnEveryMachine) {
  EXPECT_EQ(to_string(of("")), "3f49a067d725ed7d336503c6b835bec0");
  EXPECT_EQ(to_string(of("fakescore")), "e0784784eaf56f56c04b67f686ff6f6e");
}

TEST(Digest, SeesEveryByteItsPlaceAndTheLength) {
  std::string bytes(1003, 'a');
  std::set<std::string> seen{to_string(of(bytes))};
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string changed = bytes;
    changed[i] = 'b';
    EXPECT_TRUE(seen.insert(to_string(of(changed))).second) << i;
  }
  EXPECT_TRUE(seen.insert(to_string(of(bytes + '\0'))).second);
  EXPECT_TRUE(seen.insert(to_string(of(bytes.substr(1)))).second);
  std::string swapped(16, 'x');
  swapped.replace(0, 8, "12345678");
  std::string other(16, 'x');
  other.replace(8, 8, "12345678");
  EXPECT_NE(of(swapped), of(other));
}

TEST(Digest, WordsMayComeInAnyOrder) {
  const std::string bytes = "0123456789abcdefghijklmn";
  Digest sum = digest_word(bytes.size(), ~uint64_t{0} - 1);
  for (const uint64_t index : {uint64_t{2}, uint64_t{0}, uint64_t{1}}) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + index * 8, 8);
    const Digest share = digest_word(word, index);
    sum.low += share.low;
    sum.high += share.high;
  }
  EXPECT_EQ(sum, of(bytes));
}

TEST(Digest, OfATensorIsOfItsElementsInOrder) {
  const auto tensor = torch::arange(12.0).view({3, 4});
  EXPECT_EQ(digest_tensor(tensor.t()), digest_tensor(tensor.t().contiguous()));
  EXPECT_NE(digest_tensor(tensor.t()), digest_tensor(tensor));
}

TEST(Digest, SequencesKeepTheirOrder) {
  DigestSequence ab;
  DigestSequence ba;
  ab.add(of("a"));
  ab.add(of("b"));
  ba.add(of("b"));
  ba.add(of("a"));
  EXPECT_NE(ab.value(), ba.value());
}

}  // namespace
}  // namespace fakescore
