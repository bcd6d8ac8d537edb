// Tensors that FSDP1 has flattened, of a teacher in shards that has not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "fakescore/error.hpp"
#include "fakescore/fill/fill_tensors.hpp"
#include "support/error_of.hpp"
#include "support/rank_environment.hpp"
#include "support/shard_jobs.hpp"

namespace fakescore {
namespace {

using ::testing::AllOf;
using testing::chunk;
using testing::error_of;
using ::testing::HasSubstr;
using testing::part_of;
using testing::run_on_every_rank;
using testing::shard;

TEST(FlattenedShards, RowsGoToFlattenedPartsAndColumnsDoNot) {
  run_on_every_rank([](Communicator& communicator) {
    const at::Tensor whole = torch::arange(21 * 4, at::kFloat).view({21, 4});
    FillTarget target;
    target.tensors = {
        shard("w", {84}, chunk({84}, 0, communicator), at::kFloat, communicator.device(), {21, 4})};
    const auto fill_from = [&](size_t dim) {
      const Box box = chunk({21, 4}, dim, communicator);
      const at::Tensor part = part_of(whole, box).contiguous();
      fill_tensors(
          target,
          TeacherSource::state_dict({{"w", part, TensorKind::kParameter, Shard{{21, 4}, box}}}),
          communicator);
    };
    fill_from(0);
    testing::expect_parts(target, {{"w", whole}});
    if (communicator.world_size() == 1) return fill_from(1);  // all of it
    EXPECT_THAT(error_of<TeacherError>([&] { fill_from(1); }),
                AllOf(HasSubstr("w: is flattened here"), HasSubstr("no run of its elements")));
  });
}

/// No dimension is none to flatten.
TEST(FlattenedShards, AScalarOfATeacherInShardsStaysOne) {
  run_on_every_rank([](Communicator& communicator) {
    const at::Tensor whole = torch::tensor(7.0F);
    FillTarget target;
    target.tensors = {shard("scale", {}, {}, at::kFloat, communicator.device())};
    fill_tensors(
        target,
        TeacherSource::state_dict({{"scale", whole, TensorKind::kParameter, Shard{{}, {}}}}),
        communicator);
    testing::expect_parts(target, {{"scale", whole}});
  });
}

}  // namespace
}  // namespace fakescore
