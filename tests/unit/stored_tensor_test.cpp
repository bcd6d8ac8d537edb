#include "teacher/file/stored_tensor.hpp"

#include <gtest/gtest.h>

#include <array>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "teacher/formats/file_format.hpp"

namespace fakescore::detail {
namespace {

constexpr std::array<float, 6> kValues{0, 1, 2, 3, 4, 5};

StoredTensor tensor_of(std::vector<int64_t> sizes, std::vector<int64_t> strides,
                       size_t offset = 0) {
  return {.name = {},
          .dtype = at::kFloat,
          .sizes = std::move(sizes),
          .strides = std::move(strides),
          .memory = std::as_bytes(std::span(kValues)).subspan(offset)};
}

TEST(StoredTensor, IsRowMajorByItsStrides) {
  EXPECT_TRUE(is_row_major(tensor_of({2, 3}, {3, 1})));
  EXPECT_FALSE(is_row_major(tensor_of({3, 2}, {1, 3})));
  EXPECT_TRUE(is_row_major(tensor_of({1, 6}, {100, 1}))) << "nothing lies at the first stride";
  EXPECT_TRUE(is_row_major(tensor_of({0, 6}, {100, 1}))) << "nothing lies there at all";
  EXPECT_TRUE(is_row_major(tensor_of({}, {})));
}

TEST(StoredTensor, IsNotRowMajorWhereValuesDifferFromElements) {
  StoredTensor tensor = tensor_of({6}, {1});
  tensor.negative = true;
  EXPECT_FALSE(is_row_major(tensor));
  EXPECT_EQ(read_stored_tensor(tensor, nullptr)[5].item<float>(), -5);
}

TEST(StoredTensor, IsReadInPlaceWhereAligned) {
  const at::Tensor read = read_stored_tensor(tensor_of({3, 2}, {1, 3}), nullptr);
  EXPECT_EQ(read.const_data_ptr(), kValues.data());
  EXPECT_EQ(read[2][1].item<float>(), 5);
  StoredTensor askew = tensor_of({5}, {1}, 2);
  askew.memory = askew.memory.first(5 * sizeof(float));
  EXPECT_NE(read_stored_tensor(askew, nullptr).const_data_ptr(), askew.memory.data());
}

TEST(StoredTensor, ComesInTheOrderOfItsMemoryAndThenOfItsName) {
  StoredTensor first = tensor_of({6}, {1});
  StoredTensor second = tensor_of({5}, {1}, sizeof(float));
  EXPECT_TRUE(lies_before(first, second));
  EXPECT_FALSE(lies_before(second, first));
  second = first;
  second.name = "b";
  first.name = "a";
  EXPECT_TRUE(lies_before(first, second));
  first.name = "b";
  EXPECT_FALSE(lies_before(first, second) || lies_before(second, first));
}

TEST(StoredTensor, ANameThatTwoHaveIsFound) {
  std::vector<StoredTensor> tensors(3);
  tensors[0].name = "b";
  tensors[1].name = "a";
  tensors[2].name = "c";
  EXPECT_EQ(find_repeated_name(tensors), nullptr);
  tensors[2].name = "b";
  EXPECT_EQ(*find_repeated_name(tensors), "b");
}

TEST(FileFormats, SuffixesAreListedInWordsAndRecognised) {
  EXPECT_EQ(describe_suffixes(), ".safetensors, .bin, .pt, .pth, .ckpt or .jit");
  for (const FileFormat& format : file_formats()) {
    for (const char* suffix : format.suffixes) {
      EXPECT_TRUE(ends_as_weights(std::string("model") + suffix));
      EXPECT_EQ(has_own_suffix(std::string("model") + suffix), format.owns_suffixes);
    }
  }
  EXPECT_FALSE(ends_as_weights("model.json"));
}

}  // namespace
}  // namespace fakescore::detail
