#include "transfer/cut.hpp"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <torch/torch.h>

#include "fill/shards.hpp"
#include "support/property.hpp"

namespace fakescore::detail {
namespace {

Shard draw_shard() {
  Shard shard;
  const auto dims = *rc::gen::inRange<size_t>(0, 5);
  for (size_t i = 0; i < dims; ++i) {
    const auto size = *rc::gen::inRange<int64_t>(0, 7);
    const auto begin = *rc::gen::inRange<int64_t>(0, size + 1);
    shard.global_sizes.push_back(size);
    shard.box.offsets.push_back(begin);
    shard.box.sizes.push_back(*rc::gen::inRange<int64_t>(0, size - begin + 1));
  }
  return shard;
}

/// The numbers of a box's elements, which are those of the whole tensor.
at::Tensor numbers_of(const Shard& shard) {
  int64_t count = 1;
  for (const int64_t size : shard.global_sizes) count *= size;
  const at::Tensor whole = torch::arange(count).view(shard.global_sizes);
  return box_of(whole, shard).contiguous().flatten();
}

TEST(Cut, BlocksAreTheBoxOfAnyTensorInAnyStretches) {
  testing::expect_property(400, [] {
    const Shard shard = draw_shard();
    const at::Tensor wanted = numbers_of(shard);
    const auto step = *rc::gen::inRange<int64_t>(1, 40);
    int64_t count = 1;
    for (const int64_t size : shard.global_sizes) count *= size;
    std::vector<int64_t> found;
    for (int64_t first = 0; first < count; first += step) {
      const auto before = static_cast<int64_t>(found.size());
      for_each_block(shard, first, std::min(first + step, count), [&](const Block& block) {
        RC_ASSERT(block.length > 0 && block.count > 0);
        for (int64_t run = 0; run < block.count; ++run) {
          for (int64_t i = 0; i < block.length; ++i) {
            found.push_back(block.begin + run * block.stride + i);
            RC_ASSERT(found.back() >= first && found.back() < first + step);
          }
        }
      });
      RC_ASSERT(count_in(shard, first, std::min(first + step, count)) ==
                static_cast<int64_t>(found.size()) - before);
    }
    RC_ASSERT(torch::equal(torch::tensor(found, torch::kLong), wanted));
    for (int64_t i = 0; i < wanted.numel(); ++i) {
      RC_ASSERT(index_in_box(shard, wanted[i].item<int64_t>()) == i);
    }
  });
}

std::vector<Block> blocks_of(const Shard& shard, int64_t first, int64_t end) {
  std::vector<Block> blocks;
  for_each_block(shard, first, end, [&](const Block& block) { blocks.push_back(block); });
  return blocks;
}

TEST(Cut, RowsOfATensorAreOneRun) {
  const auto blocks = blocks_of({{6, 4, 5}, {{2, 0, 0}, {3, 4, 5}}}, 0, 120);
  ASSERT_EQ(blocks.size(), 1U);
  EXPECT_EQ(blocks[0].begin, 40);
  EXPECT_EQ(blocks[0].length * blocks[0].count, 60);
}

TEST(Cut, ColumnsOfATensorAreOneBlock) {
  const Shard columns{{1000, 8}, {{0, 4}, {1000, 2}}};
  const auto blocks = blocks_of(columns, 0, 8000);
  ASSERT_EQ(blocks.size(), 1U);
  EXPECT_EQ(blocks[0].count, 1000);
  EXPECT_EQ(blocks[0].stride, 8);
  // A stretch that ends within runs has two more.
  EXPECT_EQ(blocks_of(columns, 5, 8 * 10 + 5).size(), 3U);
}

}  // namespace
}  // namespace fakescore::detail
