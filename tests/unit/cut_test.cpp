#include "transfer/cut.hpp"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <torch/torch.h>

#include "support/property.hpp"

namespace fakescore::detail {
namespace {

at::Tensor box_of_whole(const at::Tensor& whole, const Box& box) {
  at::Tensor part = whole;
  for (size_t i = 0; i < box.sizes.size(); ++i) {
    part = part.narrow(static_cast<int64_t>(i), box.offsets[i], box.sizes[i]);
  }
  return part;
}

/// What arrives in stretches of `step` elements, cut.
at::Tensor cut_in_stretches(const at::Tensor& whole, const Cut& cut, int64_t step) {
  at::Tensor kept = torch::full({static_cast<int64_t>(cut.begin / 2) + 5000}, -1, torch::kShort);
  auto* const to = static_cast<std::byte*>(kept.mutable_data_ptr());
  const auto* const from = static_cast<const std::byte*>(whole.const_data_ptr());
  const size_t bytes = whole.nbytes();
  for (size_t begin = 0; begin < bytes; begin += 2 * static_cast<size_t>(step)) {
    const size_t end = std::min(begin + 2 * static_cast<size_t>(step), bytes);
    for_each_run(cut, {begin, end}, [&](const Run& run) {
      EXPECT_GE(run.in_whole, begin);
      EXPECT_LE(run.in_whole + run.bytes, end);
      EXPECT_GT(run.bytes, 0U);
      std::memcpy(to + run.in_destination, from + run.in_whole, run.bytes);
    });
  }
  return kept;
}

TEST(Cut, KeepsTheBoxOfAnyTensorInAnyStretches) {
  testing::expect_property(400, [] {
    const auto dims = *rc::gen::inRange<size_t>(0, 5);
    Shard shard;
    for (size_t i = 0; i < dims; ++i) {
      const auto size = *rc::gen::inRange<int64_t>(0, 7);
      const auto begin = *rc::gen::inRange<int64_t>(0, size + 1);
      shard.global_sizes.push_back(size);
      shard.box.offsets.push_back(begin);
      shard.box.sizes.push_back(*rc::gen::inRange<int64_t>(0, size - begin + 1));
    }
    const Cut cut{shard, 2, 2 * *rc::gen::inRange<size_t>(0, 9)};
    int64_t count = 1;
    for (const int64_t size : shard.global_sizes) count *= size;
    const at::Tensor whole = torch::arange(count, torch::kShort).view(shard.global_sizes);
    const at::Tensor wanted = box_of_whole(whole, shard.box).contiguous().flatten();
    const at::Tensor kept = cut_in_stretches(whole, cut, *rc::gen::inRange<int64_t>(1, 40));
    const auto begin = static_cast<int64_t>(cut.begin / 2);
    RC_ASSERT(torch::equal(kept.narrow(0, begin, wanted.numel()), wanted));
    RC_ASSERT(kept.narrow(0, 0, begin).eq(-1).all().item<bool>());
    RC_ASSERT(kept.narrow(0, begin + wanted.numel(), 100).eq(-1).all().item<bool>());
  });
}

TEST(Cut, RowsOfATensorAreOneRun) {
  const Cut cut{{{6, 4, 5}, {{2, 0, 0}, {3, 4, 5}}}, 4, 0};
  std::vector<detail::Run> runs;
  for_each_run(cut, {0, 6 * 4 * 5 * 4}, [&](const detail::Run& run) { runs.push_back(run); });
  ASSERT_EQ(runs.size(), 1U);
  EXPECT_EQ(runs[0].in_whole, 2U * 4 * 5 * 4);
  EXPECT_EQ(runs[0].bytes, 3U * 4 * 5 * 4);
}

}  // namespace
}  // namespace fakescore::detail
