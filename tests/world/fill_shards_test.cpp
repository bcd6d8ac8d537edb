// Tensors of which each rank holds a part.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <filesystem>

#include "fakescore/error.hpp"
#include "fakescore/fill/dry_run.hpp"
#include "fakescore/fill/fill_tensors.hpp"
#include "fakescore/fill/sync_tensors.hpp"
#include "support/counting_communicator.hpp"
#include "support/error_of.hpp"
#include "support/property.hpp"
#include "support/rank_environment.hpp"
#include "support/root_teacher.hpp"
#include "support/shard_jobs.hpp"
#include "support/temp_folder.hpp"
#include "support/tensor_checks.hpp"

namespace fakescore {
namespace {

using ::testing::AllOf;
using testing::bit_equal;
using testing::chunk;
using ::testing::ElementsAre;
using testing::error_of;
using testing::expect_parts;
using testing::expect_property;
using ::testing::HasSubstr;
using testing::NamedTensors;
using testing::only_on_root;
using testing::part_of;
using testing::run_on_every_rank;
using testing::shard;
using testing::SharedFile;

constexpr size_t kSmallBuckets = 4096;

NamedTensors teacher_tensors() {
  return {{"rows", torch::arange(300. * 70).view({300, 70})},
          {"columns", torch::arange(11. * 13 * 2).view({11, 13, 2})},
          {"few", torch::arange(2.)},
          {"flat", torch::arange(77.).view({7, 11})},
          {"whole", torch::arange(40.)}};
}

FillTarget sharded_target(const Communicator& communicator) {
  FillTarget target;
  target.tensors = {
      shard("rows", {300, 70}, chunk({300, 70}, 0, communicator)),
      shard("columns", {11, 13, 2}, chunk({11, 13, 2}, 1, communicator)),
      shard("few", {2}, chunk({2}, 0, communicator), at::kBFloat16),
      shard("flat", {77}, chunk({77}, 0, communicator), at::kFloat, at::kCPU, {7, 11}),
      {"whole", torch::empty({40}, at::device(at::kMeta))}};
  return target;
}

TEST(FillShards, EachRankReadsItsPartOfAFile) {
  run_on_every_rank([](Communicator& communicator) {
    const SharedFile file(communicator, teacher_tensors());
    const FillTarget target = sharded_target(communicator);
    const void* const data = target.tensors[0].tensor.const_data_ptr();
    FillOptions options;
    options.verify = true;
    const FillReport report = fill_tensors(target, file.source(), communicator, options);
    expect_parts(target, teacher_tensors());
    EXPECT_EQ(target.tensors[0].tensor.const_data_ptr(), data);
    EXPECT_EQ(report.read,
              communicator.world_size() > 1 ? TeacherRead::kEveryRank : TeacherRead::kRoot);
  });
}

TEST(FillShards, TheRootAloneReads) {
  run_on_every_rank([](Communicator& communicator) {
    for (const size_t bucket_bytes : {kSmallBuckets, kDefaultBucketBytes}) {
      const FillTarget target = sharded_target(communicator);
      FillOptions options;
      options.bucket_bytes = bucket_bytes;
      fill_tensors(target, only_on_root(communicator, teacher_tensors()), communicator, options);
      expect_parts(target, teacher_tensors());
      const SharedFile file(communicator, teacher_tensors());
      const FillTarget again = sharded_target(communicator);
      options.read = TeacherRead::kRoot;
      fill_tensors(again, file.source(), communicator, options);
      expect_parts(again, teacher_tensors());
    }
  });
}

TEST(FillShards, TwoNamesOfOneShard) {
  run_on_every_rank([](Communicator& communicator) {
    const NamedTensors teacher{{"a", torch::arange(30.)}, {"b", torch::arange(30.)}};
    for (const bool from_file : {true, false}) {
      const SharedFile file(communicator, teacher);
      FillTarget target;
      target.tensors = {shard("a", {30}, chunk({30}, 0, communicator))};
      target.tensors.push_back(target.tensors[0]);
      target.tensors[1].name = "b";
      fill_tensors(target, from_file ? file.source() : only_on_root(communicator, teacher),
                   communicator);
      expect_parts(target, teacher);
    }
  });
}

/// A module's tensors as a tape has them, and parts of them.
struct Recorded {
  NamedTensors wholes;
  FillTarget target;
};

Recorded record(const Communicator& communicator, const MetaInitOptions& options) {
  Recorded recorded;
  const MetaInitGuard guard(options);
  const at::Tensor drawn = torch::randn({33, 5});
  const at::Tensor computed = drawn.t().contiguous() * 2;
  recorded.wholes = {{"drawn", drawn}, {"computed", computed}, {"buffer", torch::rand({9})}};
  recorded.target.tape = guard.tape();
  const MetaInitPause pause;
  recorded.target.tensors = {shard("drawn", {33, 5}, chunk({33, 5}, 0, communicator)),
                             shard("computed", {5, 33}, chunk({5, 33}, 1, communicator)),
                             recorded.wholes[2]};
  for (const NamedTensor& entry : recorded.wholes) {
    recorded.target.recorded.push_back(entry.tensor);
  }
  return recorded;
}

/// A tensor's rows of all ranks, one below the other.
at::Tensor gathered(Communicator& communicator, const at::Tensor& rows) {
  const at::Tensor own = rows.contiguous();
  const std::string bytes(static_cast<const char*>(own.const_data_ptr()), own.nbytes());
  std::string all;
  for (const std::string& part : communicator.all_gather(bytes, "parts")) all += part;
  const auto columns = own.size(1);
  const auto count = static_cast<int64_t>(all.size() / own.dtype().itemsize()) / columns;
  return torch::from_blob(all.data(), {count, columns}, own.scalar_type()).clone();
}

TEST(FillShards, WhatTheTeacherLacksIsCutFromTheRootsValues) {
  run_on_every_rank([](Communicator& communicator) {
    MetaInitOptions options;
    options.seed = 5 + communicator.rank();
    const Recorded recorded = record(communicator, options);
    FillOptions fill;
    fill.strict = false;
    fill.verify = true;
    const FillReport report =
        fill_tensors(recorded.target, testing::unrelated_teacher(communicator), communicator, fill);
    EXPECT_THAT(report.replayed, ElementsAre("drawn", "computed", "buffer"));
    const at::Tensor whole = gathered(communicator, recorded.target.tensors[0].tensor);
    EXPECT_TRUE(
        bit_equal(gathered(communicator, recorded.target.tensors[1].tensor.t()), whole * 2));
    const MetaInitGuard guard({RandomMode::kPerOp, 5});
    const at::Tensor of_root = torch::randn({33, 5});
    EXPECT_TRUE(bit_equal(whole, guard.tape()->replay({of_root})[0]));
  });
}

TEST(FillShards, RanksThatRecordedOtherwiseGetTheRootsValues) {
  run_on_every_rank([](Communicator& communicator) {
    FillTarget target;
    {
      const MetaInitGuard guard({RandomMode::kPerOp, 5});
      target.tape = guard.tape();
      // As many draws, and a constant of each rank's own.
      target.recorded = {torch::rand({33, 5}) + communicator.rank()};
    }
    if (communicator.rank() == communicator.world_size() - 1 && communicator.rank() > 1) {
      target.tape = nullptr;
      target.recorded.front() = at::Tensor();
    }
    target.tensors = {shard("drawn", {33, 5}, chunk({33, 5}, 0, communicator))};
    FillOptions options;
    options.strict = false;
    fill_tensors(target, testing::unrelated_teacher(communicator), communicator, options);
    const at::Tensor whole = gathered(communicator, target.tensors[0].tensor);
    EXPECT_LT(whole.max().item<float>(), 1);
    EXPECT_GT(whole.std().item<float>(), 0.1);
  });
}

TEST(FillShards, ARecordedValueOfTheRootIsCutOnItsWay) {
  run_on_every_rank([](Communicator& communicator) {
    FillTarget target = sharded_target(communicator);
    target.recorded.resize(target.tensors.size());
    const at::Tensor given = torch::arange(300. * 70, at::kDouble).view({300, 70}) / 3;
    if (communicator.rank() == 0) target.recorded[0] = given;
    NamedTensors teacher = teacher_tensors();
    teacher.erase(teacher.begin());
    FillOptions options;
    options.strict = false;
    fill_tensors(target, only_on_root(communicator, teacher), communicator, options);
    NamedTensors expected = teacher_tensors();
    expected[0].tensor = given.to(at::kFloat);
    expect_parts(target, expected);
  });
}

TEST(FillShards, MemoryOfAShardExplainsNothing) {
  run_on_every_rank([](Communicator& communicator) {
    NamedTensors teacher = teacher_tensors();
    teacher.erase(teacher.begin(), teacher.begin() + 2);
    FillOptions options;
    options.strict = false;
    EXPECT_THAT(error_of<BuildError>([&] {
                  fill_tensors(sharded_target(communicator), only_on_root(communicator, teacher),
                               communicator, options);
                }),
                HasSubstr("rows, columns"));
  });
}

TEST(FillShards, WhatIsNoShardIsRefusedByName) {
  run_on_every_rank([](Communicator& communicator) {
    const auto error = [&](const std::function<void(NamedTensor&)>& change) {
      FillTarget target = sharded_target(communicator);
      change(target.tensors[0]);
      return error_of<ConfigError>([&] {
        fill_tensors(target, only_on_root(communicator, teacher_tensors()), communicator);
      });
    };
    EXPECT_THAT(error([](NamedTensor& entry) { entry.shard->box.offsets[1] = 1; }),
                AllOf(HasSubstr("rows"), HasSubstr("is said to be the box")));
    EXPECT_THAT(error([](NamedTensor& entry) { entry.shard->box.sizes.pop_back(); }),
                HasSubstr("is said to be the box"));
    EXPECT_THAT(error([](NamedTensor& entry) { entry.shard->global_sizes[0] = -1; }),
                HasSubstr("is said to be the box"));
    EXPECT_THAT(error([](NamedTensor& entry) {
                  entry.shard->flattened_from = {300, 70};
                }),
                HasSubstr("that one of sizes [300, 70] was flattened to"));
    EXPECT_THAT(error([](NamedTensor& entry) {
                  entry.tensor = torch::empty({70, entry.tensor.size(0)}).t();
                  entry.shard->box.offsets[0] = 0;
                  entry.shard->global_sizes[0] = 1000;
                }),
                HasSubstr("row-major"));
    FillTarget target = sharded_target(communicator);
    target.tensors.push_back(
        {"again", target.tensors[0].tensor.flatten(), TensorKind::kParameter, std::nullopt});
    EXPECT_THAT(error_of<ConfigError>([&] {
                  fill_tensors(target, only_on_root(communicator, teacher_tensors()), communicator);
                }),
                AllOf(HasSubstr("again"), HasSubstr("not the same shard")));
    EXPECT_THAT(error_of<ConfigError>([&] { sync_tensors(target.tensors, communicator); }),
                HasSubstr("shard"));
    EXPECT_THAT(error_of<ConfigError>([&] {
                  dry_run([&] { return sharded_target(communicator); },
                          TeacherSource::state_dict(teacher_tensors()), 2);
                }),
                AllOf(HasSubstr("rows"), HasSubstr("shard")));
    FillTarget on_meta = sharded_target(communicator);
    on_meta.tensors[0].tensor =
        torch::empty(on_meta.tensors[0].tensor.sizes(), at::device(at::kMeta));
    EXPECT_THAT(error_of<ConfigError>([&] {
                  fill_tensors(on_meta, only_on_root(communicator, teacher_tensors()),
                               communicator);
                }),
                AllOf(HasSubstr("rows"), HasSubstr("is on meta")));
  });
}

TEST(FillShards, OtherWholesOnOneRankAreEveryRanksError) {
  run_on_every_rank([](Communicator& communicator) {
    if (communicator.world_size() == 1) return;
    FillTarget target = sharded_target(communicator);
    if (communicator.rank() == 1) target.tensors[0].shard->global_sizes[0] = 301;
    EXPECT_THAT(error_of<MismatchError>([&] {
                  fill_tensors(target, only_on_root(communicator, teacher_tensors()), communicator);
                }),
                AllOf(HasSubstr("301"), HasSubstr("in shards")));
  });
}

/// The teacher's tensors as a sharded teacher has them here, with the dtypes of `target`'s places.
NamedTensors own_parts(const Communicator& communicator) {
  NamedTensors parts = teacher_tensors();
  const FillTarget target = sharded_target(communicator);
  for (size_t i = 0; i < parts.size(); ++i) {
    parts[i].name = "net." + parts[i].name;
    parts[i].shard = target.tensors[i].shard;
    if (parts[i].shard) parts[i].tensor = part_of(parts[i].tensor, *parts[i].shard);
  }
  return parts;
}

TeacherSource teacher_in_shards(const Communicator& communicator) {
  return TeacherSource::state_dict(own_parts(communicator)).strip_prefix("net.");
}

TEST(FillShards, EachRankGivesItsPartOfATeacher) {
  run_on_every_rank([](Communicator& communicator) {
    const auto source = teacher_in_shards(communicator);
    EXPECT_TRUE(source.in_shards());
    const FillTarget target = sharded_target(communicator);
    FillOptions options;
    options.verify = true;
    const FillReport report = fill_tensors(target, source, communicator, options);
    expect_parts(target, teacher_tensors());
    EXPECT_EQ(report.read,
              communicator.world_size() > 1 ? TeacherRead::kEveryRank : TeacherRead::kRoot);
  });
}

/// Parts of a tensor that lies by columns in the target, and of one that it has whole.
FillTarget target_in_other_shards(const Communicator& communicator) {
  FillTarget target = sharded_target(communicator);
  target.tensors[0] = shard("rows", {300, 70}, chunk({300, 70}, 1, communicator));
  target.tensors[1] = {"columns", torch::empty({11, 13, 2}, at::device(at::kMeta))};
  return target;
}

TEST(FillShards, RanksSendEachOtherPartsOfATeacherInOtherShards) {
  run_on_every_rank([](Communicator& communicator) {
    for (const size_t bucket_bytes : {kSmallBuckets, kDefaultBucketBytes}) {
      const auto source = teacher_in_shards(communicator);
      const FillTarget target = target_in_other_shards(communicator);
      FillOptions options;
      options.bucket_bytes = bucket_bytes;
      options.verify = true;
      const FillReport report = fill_tensors(target, source, communicator, options);
      expect_parts(target, teacher_tensors());
      if (communicator.world_size() == 1) continue;
      EXPECT_EQ(report.read, TeacherRead::kEveryRank);
      EXPECT_THAT(report.read_reason, HasSubstr("redistributed"));
    }
  });
}

TEST(FillShards, AModuleInOtherShardsGetsTheDtypesOfItsOwn) {
  run_on_every_rank([](Communicator& communicator) {
    NamedTensors parts = own_parts(communicator);
    parts[0].tensor = parts[0].tensor.to(at::kBFloat16);  // narrower than the module's
    parts[1].tensor = parts[1].tensor.to(at::kDouble);    // and wider
    FillTarget target = target_in_other_shards(communicator);
    fill_tensors(target, TeacherSource::state_dict(parts).strip_prefix("net."), communicator);
    NamedTensors wanted = teacher_tensors();
    wanted[0].tensor = wanted[0].tensor.to(at::kBFloat16);
    expect_parts(target, wanted);
  });
}

TEST(FillShards, ATeacherWithoutSomeOfAPartIsRefusedEverywhere) {
  run_on_every_rank([](Communicator& communicator) {
    // The last rows are on no rank.
    NamedTensors parts = own_parts(communicator);
    const int64_t rows = parts[0].shard->box.sizes[0];
    const bool is_last = communicator.rank() == communicator.world_size() - 1;
    parts[0].shard->box.sizes[0] = is_last ? rows - 1 : rows;
    parts[0].tensor = parts[0].tensor.narrow(0, 0, parts[0].shard->box.sizes[0]);
    EXPECT_THAT(error_of<TeacherError>([&] {
                  fill_tensors(target_in_other_shards(communicator),
                               TeacherSource::state_dict(parts).strip_prefix("net."), communicator);
                }),
                AllOf(HasSubstr("rows"), HasSubstr("the ranks' parts of the teacher have")));
    EXPECT_FALSE(communicator.broken());
  });
}

TEST(FillShards, APartThatIsAViewHereIsRefused) {
  run_on_every_rank([](Communicator& communicator) {
    FillTarget target = sharded_target(communicator);
    target.tensors[0] = {"rows", torch::empty({70, 300}, at::device(at::kMeta)).t()};
    EXPECT_THAT(error_of<TeacherError>(
                    [&] { fill_tensors(target, teacher_in_shards(communicator), communicator); }),
                AllOf(HasSubstr("rows"), HasSubstr("of another shape or a view")));
  });
}

TEST(FillShards, FlattenedPartsGoToFlattenedPartsAlone) {
  run_on_every_rank([](Communicator& communicator) {
    FillTarget target = sharded_target(communicator);
    target.tensors[3] = shard("flat", {7, 11}, chunk({7, 11}, 0, communicator));
    EXPECT_THAT(error_of<TeacherError>(
                    [&] { fill_tensors(target, teacher_in_shards(communicator), communicator); }),
                HasSubstr("flat: is flattened in the teacher, but not here"));
  });
}

TEST(FillShards, NoRankReceivesMoreThanItKeeps) {
  run_on_every_rank([](Communicator& real) {
    const auto bytes = std::make_shared<testing::BulkBytes>();
    const auto communicator = testing::make_counting(real, bytes);
    NamedTensors teacher = teacher_tensors();
    teacher.pop_back();
    FillTarget target = sharded_target(real);
    target.tensors.pop_back();
    FillOptions options;
    options.bucket_bytes = kSmallBuckets;
    const FillReport report =
        fill_tensors(target, only_on_root(real, teacher), *communicator, options);
    expect_parts(target, teacher);
    // Besides: the ways of parts, and gaps so that elements are aligned.
    const int64_t messages = 2048 * real.world_size();
    const int64_t buckets = 2 + 300 * 70 * 4 / static_cast<int64_t>(kSmallBuckets);
    testing::expect_reported(report, *bytes, real.rank(),
                             messages + 16 * buckets * real.world_size());
    int64_t all = 0;
    int64_t own = 0;
    for (const NamedTensor& entry : teacher) all += static_cast<int64_t>(entry.tensor.nbytes());
    for (const NamedTensor& entry : target.tensors) {
      own += static_cast<int64_t>(entry.tensor.nbytes());
    }
    EXPECT_EQ(bytes->broadcast, 0);
    if (real.rank() == 0) {
      EXPECT_LE(bytes->sent, all - own + messages + 16 * buckets * real.world_size());
      EXPECT_LE(bytes->received, messages);
    } else {
      EXPECT_LE(bytes->sent, messages);
      EXPECT_GE(bytes->received, own);
      EXPECT_LE(bytes->received, own + messages + 16 * buckets);
    }
  });
}

TEST(FillShards, ARankThatFailsWhilePartsTravelStopsAll) {
  run_on_every_rank([](Communicator& communicator) {
    const int bad = communicator.world_size() - 1;
    NamedTensors teacher = teacher_tensors();
    teacher.pop_back();
    FillTarget target = sharded_target(communicator);
    target.tensors.pop_back();
    FillOptions options;
    options.bucket_bytes = kSmallBuckets;
    options.progress = [&](const Progress&) {
      if (communicator.rank() == bad) throw std::runtime_error("no more");
    };
    EXPECT_THAT(error_of<InternalError>([&] {
                  fill_tensors(target, only_on_root(communicator, teacher), communicator, options);
                }),
                AllOf(HasSubstr("no more"), HasSubstr("rank " + std::to_string(bad) + " in move")));
    EXPECT_FALSE(communicator.broken());
  });
}

TEST(FillShards, ReplicasPassPartsOnSoThatTheRootSendsEachOnce) {
  run_on_every_rank([](Communicator& real) {
    const auto bytes = std::make_shared<testing::BulkBytes>();
    const auto communicator = testing::make_counting(real, bytes);
    // Two halves, each on every other rank.
    const NamedTensors teacher{{"rows", torch::arange(40'000.).view({400, 100})}};
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
      *bytes = {};
      FillTarget target;
      target.tensors = {
          shard("rows", {400, 100}, {{200 * (real.rank() % 2), 0}, {200, 100}}, dtype)};
      FillOptions options;
      options.bucket_bytes = kSmallBuckets;
      fill_tensors(target, only_on_root(real, teacher), *communicator, options);
      expect_parts(target, teacher);
      const int64_t element = dtype == at::kFloat ? 4 : 8;  // as it is passed on
      EXPECT_LE(bytes->sent, 40'000 * element + 8192 * real.world_size());
    }
  });
}

TEST(FillShards, RanksShareTheReadingOfLargeParts) {
  run_on_every_rank(
      [](Communicator& communicator) { testing::expect_shares_of_large_parts(communicator); });
}

TEST(FillShards, ReplicasReadEachByteOnceInTurns) {
  run_on_every_rank([](Communicator& communicator) {
    testing::expect_replicas_to_read_each_byte_once(communicator);
  });
}

TEST(FillShards, ARankThatFailsWhileItReadsItsShareStopsAll) {
  run_on_every_rank([](Communicator& communicator) {
    if (communicator.world_size() == 1) GTEST_SKIP() << "needs a second rank";
    const int bad = communicator.world_size() - 1;
    const testing::TempFolder folder;  // each rank sees its own copy, and takes it for the root's
    const auto path = folder / "teacher.safetensors";
    const std::vector<int64_t> sizes{400, 700};
    save_safetensors(path, {{"rows", torch::arange(400. * 700).view(sizes)}});
    std::filesystem::last_write_time(path, std::filesystem::file_time_type());
    const auto source = TeacherSource::custom("its copy", [&] {
      auto teacher = TeacherSource::path(path).open();
      if (communicator.rank() == bad) std::filesystem::resize_file(path, 4096);
      return teacher;
    });
    FillTarget target;
    target.tensors = {shard("rows", sizes, {{0, 0}, {400, 700}})};
    FillOptions options;
    options.read = TeacherRead::kInTurns;
    EXPECT_THAT(
        error_of<TeacherError>([&] { fill_tensors(target, source, communicator, options); }),
        AllOf(HasSubstr("has become shorter"),
              HasSubstr("rank " + std::to_string(bad) + " in move")));
    EXPECT_FALSE(communicator.broken());
  });
}

TEST(FillShards, ReplicasThatDifferAreNamed) {
  run_on_every_rank([](Communicator& communicator) {
    const std::vector<int64_t> sizes{30, 4};
    const SharedFile file(communicator, {{"a", torch::ones(sizes)}, {"b", torch::ones(sizes)}});
    FillTarget target;
    // The first ranks keep one part of it, the last one another.
    const int last = communicator.world_size() - 1;
    const Box part{{communicator.rank() == last ? 15 : 0, 0}, {15, 4}};
    target.tensors = {shard("a", sizes, part), shard("b", sizes, part)};
    FillOptions options;
    options.verify = true;
    const FillReport right = fill_tensors(target, file.source(), communicator, options);
    ASSERT_TRUE(right.digest);
    EXPECT_TRUE(communicator.compare(to_string(*right.digest), "a test's digest").is_same());
    if (communicator.world_size() < 3) return;
    options.progress = [&](const Progress& progress) {
      const bool is_there = progress.phase == "move" && progress.done_bytes == progress.total_bytes;
      if (is_there && communicator.rank() == 1) target.tensors[1].tensor.fill_(3);
    };
    EXPECT_THAT(
        error_of<MismatchError>(
            [&] { fill_tensors(target, file.source(), communicator, options); }),
        AllOf(HasSubstr("b: its bytes on rank 1 differ from those on rank 0, which keeps the same"),
              HasSubstr("rank 1 in verify")));
    EXPECT_FALSE(communicator.broken());
  });
}

TEST(FillShards, PartsOfATiedTensorThatDifferOnAnyRankAreRefused) {
  run_on_every_rank([](Communicator& communicator) {
    const std::vector<int64_t> sizes{30};
    NamedTensors parts;
    for (const char* name : {"a", "b"}) {
      parts.push_back(shard(name, sizes, chunk(sizes, 0, communicator)));
    }
    const bool is_last = communicator.rank() == communicator.world_size() - 1;
    if (is_last) parts[1].tensor.fill_(7);
    FillTarget target;
    target.tensors = {shard("a", sizes, chunk(sizes, 0, communicator))};
    target.tensors.push_back(target.tensors[0]);
    target.tensors[1].name = "b";
    EXPECT_THAT(error_of<TeacherError>(
                    [&] { fill_tensors(target, TeacherSource::state_dict(parts), communicator); }),
                AllOf(HasSubstr("b: is tied to a"), HasSubstr("different values")));
  });
}

TEST(FillShards, PartsOfNoTeacherAreRefusedByRank) {
  run_on_every_rank([](Communicator& communicator) {
    if (communicator.world_size() == 1) return;
    const int last = communicator.world_size() - 1;
    const auto error = [&](const NamedTensors& parts, const FillTarget& target) {
      const auto source = TeacherSource::state_dict(parts).strip_prefix("net.");
      return error_of<TeacherError>([&] { fill_tensors(target, source, communicator); });
    };
    NamedTensors fewer = own_parts(communicator);
    if (communicator.rank() == last) fewer.pop_back();
    EXPECT_THAT(error(fewer, sharded_target(communicator)),
                AllOf(HasSubstr("rank " + std::to_string(last)), HasSubstr("other names")));
    NamedTensors mixed = own_parts(communicator);
    if (communicator.rank() == last) {
      mixed[0] = teacher_tensors()[0];
      mixed[0].name = "net.rows";
    }
    EXPECT_THAT(error(mixed, sharded_target(communicator)),
                AllOf(HasSubstr("rank " + std::to_string(last)), HasSubstr("kinds of tensors")));
    NamedTensors other_box = own_parts(communicator);
    if (communicator.rank() == last) other_box[0].shard->box.sizes[1] = 69;
    EXPECT_THAT(error(other_box, sharded_target(communicator)),
                AllOf(HasSubstr("rank " + std::to_string(last)), HasSubstr("said to be the box")));
    NamedTensors not_cut = own_parts(communicator);
    if (communicator.rank() == last) {
      not_cut = teacher_tensors();
      for (NamedTensor& entry : not_cut) entry.name = "net." + entry.name;
    }
    EXPECT_THAT(error(not_cut, sharded_target(communicator)),
                AllOf(HasSubstr("rank " + std::to_string(last)), HasSubstr("not in shards")));
    EXPECT_THAT(error_of<TeacherError>([&] {
                  const auto merged = TeacherSource::state_dict(own_parts(communicator))
                                          .merge_keys({{"both", {"net.rows", "net.columns"}, 0}});
                  fill_tensors(sharded_target(communicator), merged, communicator);
                }),
                AllOf(HasSubstr("net.rows"), HasSubstr("is in shards, which cannot be merged")));
  });
}

TEST(FillShards, AnyBoxesOfAnyTensors) {
  expect_property(60, [] {
    const testing::ShardJob job = testing::draw_shard_job();
    run_on_every_rank([&](Communicator& communicator) { run_shard_job(job, communicator); });
  });
}

}  // namespace
}  // namespace fakescore
