// Who reads the teacher: the root alone, or every rank for itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <filesystem>

#include "fakescore/error.hpp"
#include "fakescore/fill/broadcast_teacher_tensors.hpp"
#include "fakescore/models/registry.hpp"
#include "fakescore/module/create_fake_score_meta.hpp"
#include "fakescore/teacher/save_safetensors.hpp"
#include "support/error_of.hpp"
#include "support/rank_environment.hpp"
#include "support/root_teacher.hpp"
#include "support/sum_of.hpp"
#include "support/temp_folder.hpp"

namespace fakescore {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;
using testing::NamedTensors;
using testing::only_on_root;
using testing::run_on_every_rank;
using testing::sum_of;
using testing::TempFolder;

const fs::path kReadModels = fs::path(FAKESCORE_TEST_DATA) / "models";

MetaResult load(Communicator& communicator, const TeacherSource& source, MetaOptions options) {
  const auto tensors = broadcast_teacher_tensors(source, communicator, options.root);
  options.verify = true;
  return create_fake_score_meta([&] { return build_checkpoint_module(tensors); }, source,
                                communicator, options);
}

MetaOptions reading(TeacherRead read) {
  MetaOptions options;
  options.read = read;
  return options;
}

/// Ranks that took turns have read together what the root has alone, and each some of it.
void expect_read_once(const MetaReport& turns, const MetaReport& root) {
  EXPECT_EQ(turns.read, turns.world_size > 1 ? TeacherRead::kInTurns : TeacherRead::kRoot);
  ASSERT_EQ(turns.read_bytes.size(), static_cast<size_t>(turns.world_size));
  uint64_t all = 0;
  for (const uint64_t bytes : turns.read_bytes) {
    EXPECT_GT(bytes, 0U);
    all += bytes;
  }
  EXPECT_EQ(all, root.read_bytes[0]);
  for (size_t rank = 1; rank < root.read_bytes.size(); ++rank) {
    EXPECT_EQ(root.read_bytes[rank], 0U);
  }
}

/// All ranks but one receive each byte that a root or several ranks send.
void expect_received(const MetaReport& report) {
  const auto others = static_cast<uint64_t>(report.world_size - 1);
  // Whole buckets have gaps of alignment where something is cast.
  EXPECT_LE(sum_of(report.received_bytes), others * report.bytes);
  EXPECT_GE(sum_of(report.received_bytes) * 100, others * report.bytes * 99);
  EXPECT_EQ(sum_of(report.sent_bytes), sum_of(report.received_bytes));
  ASSERT_EQ(report.hosts, std::vector<int>(static_cast<size_t>(report.world_size)));
  EXPECT_EQ(report.link_sent_bytes, std::vector<uint64_t>{0});
  EXPECT_EQ(report.link_received_bytes, std::vector<uint64_t>{0});
}

TEST(TeacherRead, EveryRankReadsWhatAllSeeOnOneHost) {
  for (const char* name : {"wan", "wan_sharded", "wan_bf16"}) {
    run_on_every_rank([&](Communicator& communicator) {
      const auto source = TeacherSource::path(kReadModels / name);
      for (const auto dtype : {std::optional<at::ScalarType>(), std::optional(at::kDouble)}) {
        MetaOptions options = reading(TeacherRead::kAuto);
        options.dtype = dtype;
        const MetaReport each = load(communicator, source, options).report;
        options.read = TeacherRead::kRoot;
        const MetaReport root = load(communicator, source, options).report;
        options.read = TeacherRead::kInTurns;
        const MetaReport turns = load(communicator, source, options).report;
        EXPECT_EQ(each.read,
                  communicator.world_size() > 1 ? TeacherRead::kEveryRank : TeacherRead::kRoot);
        EXPECT_EQ(each.read_reason, "");
        EXPECT_EQ(root.read, TeacherRead::kRoot);
        EXPECT_EQ(each.digest, root.digest);
        EXPECT_EQ(each.bytes, root.bytes);
        EXPECT_EQ(turns.digest, root.digest);
        EXPECT_EQ(turns.bytes, root.bytes);
        expect_read_once(turns, root);
        expect_received(turns);
        expect_received(root);
      }
    });
  }
}

TEST(TeacherRead, WhatTheTeacherLacksStillComesFromTheRoot) {
  run_on_every_rank([](Communicator& communicator) {
    const TempFolder folder;
    const auto path = folder / "teacher.safetensors";
    save_safetensors(path, {{"given", torch::ones({100})}});
    fs::last_write_time(path, fs::file_time_type());
    auto build = [] {
      auto module = std::make_shared<torch::nn::Module>();
      module->register_parameter("given", torch::randn({100}));
      module->register_parameter("drawn", torch::randn({100}));
      return module;
    };
    MetaOptions options = reading(TeacherRead::kEveryRank);
    options.strict = false;
    options.verify = true;
    options.init.seed = static_cast<uint64_t>(communicator.rank());
    const MetaResult result =
        create_fake_score_meta(build, TeacherSource::path(path), communicator, options);
    EXPECT_TRUE(torch::equal(result.module->named_parameters()["given"], torch::ones({100})));
    EXPECT_NE(result.module->named_parameters()["drawn"].std().item<float>(), 0);
  });
}

TEST(TeacherRead, TheRootReadsWhereAnotherRankSeesNoFile) {
  run_on_every_rank([](Communicator& communicator) {
    if (communicator.world_size() == 1) GTEST_SKIP() << "needs a second rank";
    const auto source = only_on_root(communicator, TeacherSource::path(kReadModels / "wan"));
    const MetaReport report = load(communicator, source, reading(TeacherRead::kAuto)).report;
    EXPECT_EQ(report.read, TeacherRead::kRoot);
    EXPECT_THAT(report.read_reason,
                AllOf(HasSubstr("rank 1"), HasSubstr("/nonexistent"), HasSubstr("not exist")));
    EXPECT_THAT(error_of<TeacherError>(
                    [&] { load(communicator, source, reading(TeacherRead::kEveryRank)); }),
                AllOf(HasSubstr("rank 1 in plan"), HasSubstr("/nonexistent")));
  });
}

/// The root's file, and what the last rank has in its place.
struct TwoFiles {
  NamedTensors root;
  NamedTensors other;
  int64_t seconds_apart = 0;
};

/// What is reported of it under kAuto.
MetaReport load_two_files(Communicator& communicator, const TempFolder& folder,
                          const TwoFiles& files) {
  const bool is_last = communicator.rank() == communicator.world_size() - 1;
  const auto path = folder / "teacher.safetensors";
  save_safetensors(path, is_last ? files.other : files.root);
  const auto time = fs::file_time_type() + std::chrono::seconds(is_last ? files.seconds_apart : 0);
  fs::last_write_time(path, time);
  return load(communicator, TeacherSource::path(path), reading(TeacherRead::kAuto)).report;
}

TEST(TeacherRead, FilesAreTheSameBySizeTimeAndHeaderWhereverTheyLie) {
  run_on_every_rank([](Communicator& communicator) {
    if (communicator.world_size() == 1) GTEST_SKIP() << "needs a second rank";
    const TempFolder folder;
    const NamedTensors tensors{{"a", torch::ones({8})}, {"b", torch::zeros({8})}};
    EXPECT_EQ(load_two_files(communicator, folder, {tensors, tensors}).read,
              TeacherRead::kEveryRank);
    const MetaReport later = load_two_files(communicator, folder, {tensors, tensors, 1});
    EXPECT_EQ(later.read, TeacherRead::kRoot);
    EXPECT_THAT(later.read_reason, HasSubstr("modification time differs"));
    const NamedTensors longer{{"a", torch::ones({8})}, {"b", torch::zeros({9})}};
    EXPECT_THAT(load_two_files(communicator, folder, {tensors, longer}).read_reason,
                HasSubstr("size differs"));
    const NamedTensors swapped{{"b", torch::ones({8})}, {"a", torch::zeros({8})}};
    EXPECT_THAT(load_two_files(communicator, folder, {tensors, swapped}).read_reason,
                HasSubstr("header differs"));
  });
}

TEST(TeacherRead, RanksThatRenameTheTensorsOtherwiseDoNotReadForThemselves) {
  run_on_every_rank([](Communicator& communicator) {
    if (communicator.world_size() == 1) GTEST_SKIP() << "needs a second rank";
    const TempFolder folder;
    const auto path = folder / "teacher.safetensors";
    save_safetensors(path, {{"a", torch::ones({8})}, {"b", torch::zeros({8})}});
    fs::last_write_time(path, fs::file_time_type());
    const bool swaps = communicator.rank() == communicator.world_size() - 1;
    const auto source = TeacherSource::path(path).map_keys([swaps](const std::string& name) {
      return std::optional<std::string>(swaps == (name == "a") ? "b" : "a");
    });
    const MetaReport report = load(communicator, source, reading(TeacherRead::kAuto)).report;
    EXPECT_EQ(report.read, TeacherRead::kRoot);
    EXPECT_THAT(report.read_reason, HasSubstr("other names"));
  });
}

TEST(TeacherRead, ATeacherInMemoryIsTheRootsAlone) {
  run_on_every_rank([](Communicator& communicator) {
    if (communicator.world_size() == 1) GTEST_SKIP() << "needs a second rank";
    const auto source = TeacherSource::state_dict({{"a", torch::ones({8})}});
    const MetaReport report = load(communicator, source, reading(TeacherRead::kAuto)).report;
    EXPECT_EQ(report.read, TeacherRead::kRoot);
    EXPECT_THAT(report.read_reason, HasSubstr("in memory"));
    EXPECT_THAT(error_of<TeacherError>(
                    [&] { load(communicator, source, reading(TeacherRead::kEveryRank)); }),
                HasSubstr("in memory"));
  });
}

TEST(TeacherRead, ARankThatFailsWhileItReadsStopsAll) {
  run_on_every_rank([](Communicator& communicator) {
    const int bad = communicator.world_size() - 1;
    for (const TeacherRead read : {TeacherRead::kEveryRank, TeacherRead::kInTurns}) {
      MetaOptions options = reading(read);
      options.progress = [&](const Progress& progress) {
        if (communicator.rank() == bad && progress.done_bytes > 0)
          throw std::runtime_error("no more");
      };
      EXPECT_THAT(
          error_of<InternalError>(
              [&] { load(communicator, TeacherSource::path(kReadModels / "wan"), options); }),
          AllOf(HasSubstr("no more"), HasSubstr("rank " + std::to_string(bad) + " in move")));
      options.progress = {};
      EXPECT_NO_THROW(load(communicator, TeacherSource::path(kReadModels / "wan"), options));
    }
  });
}

/// The first rank's file ends early, after it was opened.
TEST(TeacherRead, AFileThatBecomesShorterIsAnErrorWhereEveryRankReads) {
  run_on_every_rank([](Communicator& communicator) {
    const TempFolder folder;
    const auto path = folder / "teacher.safetensors";
    save_safetensors(path, {{"a", torch::ones({1 << 20})}, {"b", torch::ones({1 << 20})}});
    fs::last_write_time(path, fs::file_time_type());
    MetaOptions options = reading(TeacherRead::kEveryRank);
    options.progress = [&](const Progress&) {
      if (communicator.rank() == 0) fs::resize_file(path, size_t{5} << 20);
    };
    EXPECT_THAT(
        error_of<TeacherError>([&] { load(communicator, TeacherSource::path(path), options); }),
        AllOf(HasSubstr("has become shorter"), HasSubstr("rank 0 in move")));
  });
}

TEST(TeacherRead, MustBeTheSameOnEveryRank) {
  run_on_every_rank([](Communicator& communicator) {
    if (communicator.world_size() == 1) GTEST_SKIP() << "needs a second rank";
    const auto read = communicator.rank() == 0 ? TeacherRead::kAuto : TeacherRead::kRoot;
    EXPECT_THAT(error_of<MismatchError>([&] {
                  load(communicator, TeacherSource::path(kReadModels / "wan"), reading(read));
                }),
                HasSubstr("read="));
  });
}

}  // namespace
}  // namespace fakescore
