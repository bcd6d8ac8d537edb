// Parts of tensors on GPUs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "fakescore/fill/fill_tensors.hpp"
#include "gpu/busy_stream.hpp"
#include "gpu/gpu_environment.hpp"
#include "support/counting_communicator.hpp"
#include "support/property.hpp"
#include "support/rank_environment.hpp"
#include "support/root_teacher.hpp"
#include "support/shard_jobs.hpp"

namespace fakescore {
namespace {

using testing::chunk;
using testing::expect_parts;
using testing::NamedTensors;
using testing::only_on_root;
using testing::rank_device;
using testing::run_on_every_rank;
using testing::shard;

TEST(FillShardsOnGpu, AnyBoxesOfAnyTensors) {
  testing::expect_property(12, [] {
    const testing::ShardJob job = testing::draw_shard_job();
    run_on_every_rank([&](Communicator& communicator) { run_shard_job(job, communicator); });
  });
}

NamedTensors teacher() {
  return {{"rows", torch::arange(600. * 500).view({600, 500})},
          {"columns", torch::arange(400. * 600).view({400, 600})}};
}

FillTarget target_of(const Communicator& communicator) {
  FillTarget target;
  target.tensors = {
      shard("rows", {600, 500}, chunk({600, 500}, 0, communicator), at::kFloat, rank_device()),
      shard("columns", {400, 600}, chunk({400, 600}, 1, communicator), at::kDouble, rank_device())};
  return target;
}

TEST(FillShardsOnGpu, NoRankReceivesMoreThanItKeeps) {
  run_on_every_rank([](Communicator& real) {
    if (real.world_size() == 1) GTEST_SKIP() << "needs a second rank";
    const auto bytes = std::make_shared<testing::BulkBytes>();
    const auto communicator = testing::make_counting(real, bytes);
    const FillTarget target = target_of(real);
    FillOptions options;
    options.bucket_bytes = 65536;
    const FillReport report =
        fill_tensors(target, only_on_root(real, teacher()), *communicator, options);
    expect_parts(target, teacher());
    EXPECT_EQ(bytes->broadcast, 0);
    // Columns travel in the teacher's dtype, which is half as wide.
    const auto own = static_cast<int64_t>(target.tensors[0].tensor.nbytes() +
                                          target.tensors[1].tensor.nbytes() / 2);
    const int64_t gaps = 16 * 2 * (1 + 600 * 500 * 4 / 65536 + 400 * 600 * 4 / 65536);
    EXPECT_LE(bytes->received, real.rank() == 0 ? 0 : own + gaps);
    testing::expect_reported(report, *bytes, real.rank(), gaps * real.world_size());
  });
}

TEST(FillShardsOnGpu, RanksShareTheReadingOfLargeParts) {
  run_on_every_rank(
      [](Communicator& communicator) { testing::expect_shares_of_large_parts(communicator); });
}

TEST(FillShardsOnGpu, ReplicasReadEachByteOnceInTurns) {
  run_on_every_rank([](Communicator& communicator) {
    testing::expect_replicas_to_read_each_byte_once(communicator);
  });
}

/// What is there may still be written by what the caller has put on its stream.
TEST(FillShardsOnGpu, BeginsAfterTheCallersWork) {
  run_on_every_rank([](Communicator& communicator) {
    for (const TeacherRead read :
         {TeacherRead::kRoot, TeacherRead::kEveryRank, TeacherRead::kInTurns}) {
      // Nothing is sent then, by which the stream would be let go: that takes it five seconds.
      if (read == TeacherRead::kEveryRank && communicator.world_size() != 2) continue;
      const testing::SharedFile file(communicator, teacher());
      const FillTarget target = target_of(communicator);
      testing::BusyStream busy(communicator);
      for (const NamedTensor& entry : target.tensors) entry.tensor.fill_(-5);
      FillOptions options;
      options.read = read;
      options.bucket_bytes = 65536;
      fill_tensors(target, file.source(), busy.communicator(), options);
      expect_parts(target, teacher());
    }
  });
}

}  // namespace
}  // namespace fakescore
