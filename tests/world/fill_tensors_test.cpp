// Lists of named tensors, without a module.
#include "fakescore/fill/fill_tensors.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "fakescore/error.hpp"
#include "fakescore/fill/dry_run.hpp"
#include "fakescore/fill/sync_tensors.hpp"
#include "support/error_of.hpp"
#include "support/rank_environment.hpp"
#include "support/root_teacher.hpp"
#include "support/tensor_checks.hpp"

namespace fakescore {
namespace {

using ::testing::AllOf;
using testing::bit_equal;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using testing::NamedTensors;
using testing::only_on_root;
using testing::run_on_every_rank;

at::Tensor values(int64_t count, double first = 0) {
  return torch::arange(first, first + static_cast<double>(count));
}

/// As a language binding would make it: tensors on meta, some of which share a storage.
FillTarget list_target() {
  const MetaInitGuard guard;
  FillTarget target;
  target.tape = guard.tape();
  const at::Tensor flat = torch::zeros({600});
  target.tensors = {{"weight", torch::empty({300, 700})},
                    {"flat", flat},
                    {"rows", flat.view({20, 30})},
                    {"steps", torch::arange(50.) * 2, TensorKind::kNonPersistentBuffer}};
  return target;
}

NamedTensors list_teacher() {
  return {{"weight", values(300 * 700).view({300, 700})}, {"flat", values(600, 7)}};
}

TEST(FillTensors, FillsAListThatNoModuleHolds) {
  run_on_every_rank([](Communicator& communicator) {
    const FillTarget target = list_target();
    const at::TensorImpl* const object = target.tensors[0].tensor.unsafeGetTensorImpl();
    FillOptions options;
    options.strict = false;
    options.verify = true;
    const NamedTensors teacher = list_teacher();
    const FillReport report =
        fill_tensors(target, only_on_root(communicator, teacher), communicator, options);
    EXPECT_EQ(target.tensors[0].tensor.unsafeGetTensorImpl(), object);
    EXPECT_TRUE(bit_equal(target.tensors[0].tensor, teacher[0].tensor));
    EXPECT_TRUE(bit_equal(target.tensors[1].tensor, teacher[1].tensor));
    EXPECT_TRUE(target.tensors[2].tensor.is_alias_of(target.tensors[1].tensor));
    EXPECT_TRUE(bit_equal(target.tensors[3].tensor, torch::arange(50.) * 2));
    // What "flat" brings is all of "rows" as well.
    EXPECT_THAT(report.missing, ElementsAre());
    EXPECT_THAT(report.replayed, ElementsAre("steps"));
    EXPECT_EQ(report.world_size, communicator.world_size());
    EXPECT_TRUE(report.digest.has_value());
  });
}

TEST(FillTensors, WritesIntoMemoryThatIsGiven) {
  run_on_every_rank([](Communicator& communicator) {
    const auto own = static_cast<double>(communicator.rank() + 1);
    const at::Tensor memory = torch::full({1000}, own);
    FillTarget target;
    target.storage = StoragePolicy::kGiven;
    target.tensors = {{"taught", memory.narrow(0, 100, 600)},
                      {"kept", torch::full({70}, own)},
                      {"half", torch::full({3, 5}, own, torch::kBFloat16)}};
    const NamedTensors teacher{{"taught", values(600)}, {"half", values(15).view({3, 5})}};
    const void* const data = memory.const_data_ptr();
    FillOptions options;
    options.strict = false;
    options.verify = true;
    const FillReport report =
        fill_tensors(target, only_on_root(communicator, teacher), communicator, options);
    EXPECT_EQ(memory.const_data_ptr(), data);
    EXPECT_TRUE(bit_equal(memory.narrow(0, 100, 600), teacher[0].tensor));
    // What lies around it is not touched.
    EXPECT_TRUE(bit_equal(memory.narrow(0, 0, 100), torch::full({100}, own)));
    EXPECT_TRUE(bit_equal(memory.narrow(0, 700, 300), torch::full({300}, own)));
    // What the teacher does not hold is the root's.
    EXPECT_TRUE(bit_equal(target.tensors[1].tensor, torch::ones({70})));
    EXPECT_TRUE(bit_equal(target.tensors[2].tensor, teacher[1].tensor.to(torch::kBFloat16)));
    EXPECT_THAT(report.missing, ElementsAre("kept"));
  });
}

TEST(FillTensors, NeedsNoRecordWhereTheTeacherHoldsAll) {
  run_on_every_rank([](Communicator& communicator) {
    FillTarget target = list_target();
    target.tape = nullptr;
    target.tensors.pop_back();
    fill_tensors(target, only_on_root(communicator, list_teacher()), communicator);
    EXPECT_TRUE(bit_equal(target.tensors[0].tensor, list_teacher()[0].tensor));
  });
}

TEST(FillTensors, KeepsTiesAndLayoutsOfGivenMemory) {
  run_on_every_rank([](Communicator& communicator) {
    const at::Tensor tied = torch::zeros({40});
    const at::Tensor turned = torch::zeros({30, 20}).t();
    FillTarget target;
    target.storage = StoragePolicy::kGiven;
    target.tensors = {{"tied", tied}, {"again", tied.view({5, 8})}, {"turned", turned}};
    const NamedTensors teacher{{"tied", values(40)}, {"turned", values(600).view({20, 30})}};
    fill_tensors(target, only_on_root(communicator, teacher), communicator);
    EXPECT_TRUE(bit_equal(target.tensors[1].tensor, values(40).view({5, 8})));
    EXPECT_TRUE(torch::equal(turned, teacher[1].tensor));
    EXPECT_EQ(turned.stride(0), 1);
  });
}

TEST(FillTensors, GivenMemoryThatWasTakenAwayIsRefused) {
  run_on_every_rank([](Communicator& communicator) {
    const at::Tensor weight = torch::zeros({100});
    weight.storage().unsafeGetStorageImpl()->set_nbytes(0);
    FillTarget target;
    target.storage = StoragePolicy::kGiven;
    target.tensors = {{"weight", weight}};
    EXPECT_THAT(
        error_of<ConfigError>([&] {
          fill_tensors(target, only_on_root(communicator, {{"weight", values(100)}}), communicator);
        }),
        AllOf(HasSubstr("weight"), HasSubstr("needs more memory than the 0 bytes")));
  });
}

TEST(FillTensors, WhatIsCalledAtTheEndMayFailOnOneRank) {
  run_on_every_rank([](Communicator& communicator) {
    FillTarget target = list_target();
    target.on_filled = [&](const NamedTensors& filled) {
      EXPECT_EQ(filled.size(), 4U);
      if (communicator.rank() == 0) throw std::runtime_error("cannot be trained");
    };
    EXPECT_THAT(error_of<InternalError>([&] {
                  fill_tensors(target, only_on_root(communicator, list_teacher()), communicator);
                }),
                HasSubstr("cannot be trained"));
  });
}

TEST(DryRun, SaysWhatTheJobWouldThrow) {
  run_on_every_rank([](Communicator&) {
    FillTarget target = list_target();
    const auto list = [&target] { return target; };
    const auto teacher = TeacherSource::state_dict(list_teacher());
    EXPECT_GT(dry_run(list, teacher, 2).memory.storage, 300U * 700 * 4);
    target.tape = nullptr;
    EXPECT_THAT(error_of<BuildError>([&] { dry_run(list, teacher, 2); }), HasSubstr("steps"));
    target.tensors = {{"flat", torch::zeros({600})}};
    target.storage = StoragePolicy::kGiven;
    FillOptions options;
    options.strict = false;
    EXPECT_EQ(dry_run(list, teacher, 2, options).memory.storage, 0U);
  });
}

TEST(FillTensors, ATensorWithoutValuesAnywhereIsAnErrorThatNamesIt) {
  run_on_every_rank([](Communicator& communicator) {
    FillTarget target = list_target();
    target.tape = nullptr;
    FillOptions options;
    options.strict = false;
    EXPECT_THAT(error_of<BuildError>([&] {
                  fill_tensors(target, only_on_root(communicator, list_teacher()), communicator,
                               options);
                }),
                AllOf(HasSubstr("steps"), HasSubstr("no record of its initialisation")));
  });
}

TEST(FillTensors, SettingsThatDifferAreNamed) {
  run_on_every_rank([](Communicator& communicator) {
    if (communicator.world_size() == 1) GTEST_SKIP() << "needs a second rank";
    FillTarget target = list_target();
    target.settings = "guidance=" + std::to_string(communicator.rank());
    EXPECT_THAT(error_of<MismatchError>([&] {
                  fill_tensors(target, only_on_root(communicator, list_teacher()), communicator);
                }),
                AllOf(HasSubstr("guidance=0"), HasSubstr("guidance=1")));
  });
}

TEST(FillTensors, WhatABuilderThrowsIsRaisedOnEveryRank) {
  run_on_every_rank([](Communicator& communicator) {
    const auto build = [&]() -> FillTarget {
      if (communicator.rank() == communicator.world_size() - 1) throw std::runtime_error("no room");
      return list_target();
    };
    EXPECT_THAT(error_of<BuildError>([&] {
                  fill_tensors(build, only_on_root(communicator, list_teacher()), communicator);
                }),
                HasSubstr("no room"));
  });
}

TEST(FillTensors, GivenMemoryElsewhereIsRefused) {
  run_on_every_rank([](Communicator& communicator) {
    FillTarget target = list_target();  // on meta
    target.storage = StoragePolicy::kGiven;
    EXPECT_THAT(error_of<ConfigError>([&] {
                  FillOptions options;
                  options.strict = false;
                  fill_tensors(target, only_on_root(communicator, list_teacher()), communicator,
                               options);
                }),
                AllOf(HasSubstr("weight"), HasSubstr("is on meta")));
  });
}

TEST(SyncTensors, AListThatFailsOnOneRankIsEveryRanksError) {
  run_on_every_rank([](Communicator& communicator) {
    const auto list = [&]() -> NamedTensors {
      if (communicator.rank() == communicator.world_size() - 1) throw std::runtime_error("no list");
      return {{"a", torch::ones({3})}};
    };
    EXPECT_THAT(error_of<ConfigError>([&] { sync_tensors(list, communicator); }),
                HasSubstr("no list"));
  });
}

TEST(SyncTensors, GivesEveryRankTheRootsValues) {
  run_on_every_rank([](Communicator& communicator) {
    const double own = communicator.rank() == 0 ? 1 : 2;
    const NamedTensors tensors{{"a", torch::full({3000}, own)}, {"b", torch::full({7}, own)}};
    SyncOptions options;
    options.verify = true;
    sync_tensors(tensors, communicator, options);
    for (const NamedTensor& entry : tensors) {
      EXPECT_TRUE((entry.tensor == 1).all().item<bool>()) << entry.name;
    }
  });
}

TEST(FillTensors, ACastOutsideTheGuardIsReplayedFromWhatWasRecorded) {
  run_on_every_rank([](Communicator& communicator) {
    FillTarget target;
    at::Tensor recorded;
    {
      const MetaInitGuard guard;
      recorded = torch::arange(5, torch::kDouble) / 3;
      target.tape = guard.tape();
    }
    const at::Tensor weight = torch::empty({2}, torch::device(torch::kMeta));
    target.tensors = {{"weight", weight},
                      {"angles", recorded.to(torch::kFloat), TensorKind::kNonPersistentBuffer}};
    target.recorded = {at::Tensor(), recorded};
    const auto report = fill_tensors(
        target, only_on_root(communicator, {{"weight", torch::ones({2})}}), communicator);
    EXPECT_THAT(report.replayed, ElementsAre("angles"));
    EXPECT_TRUE(torch::equal(target.tensors[1].tensor,
                             (torch::arange(5, torch::kDouble) / 3).to(torch::kFloat)));
    target.recorded = {at::Tensor(), recorded.narrow(0, 0, 4)};
    EXPECT_THAT(error_of<BuildError>([&] {
                  fill_tensors(target, only_on_root(communicator, {{"weight", torch::ones({2})}}),
                               communicator);
                }),
                AllOf(HasSubstr("angles"), HasSubstr("another shape")));
  });
}

TEST(FillTensors, AScalarFillsAVectorOfOneElement) {
  run_on_every_rank([](Communicator& communicator) {
    FillTarget target;
    const auto meta = torch::dtype(torch::kFloat).device(torch::kMeta);
    const at::Tensor half = torch::empty({1}, meta.dtype(torch::kHalf));
    target.tensors = {{"a", torch::empty({1}, meta)}, {"b", torch::empty({}, meta)}, {"c", half}};
    fill_tensors(target,
                 only_on_root(communicator, {{"a", torch::tensor(2.5F)},
                                             {"b", torch::tensor(std::vector<float>{3.5F})},
                                             {"c", torch::tensor(4.5F)}}),
                 communicator);
    EXPECT_EQ(target.tensors[0].tensor.item<float>(), 2.5F);
    EXPECT_EQ(target.tensors[1].tensor.item<float>(), 3.5F);
    EXPECT_EQ(target.tensors[2].tensor.item<float>(), 4.5F);
  });
}

TEST(FillTensors, AllThatHasNoValueIsNamedAtOnce) {
  run_on_every_rank([](Communicator& communicator) {
    FillTarget target;
    const auto meta = torch::device(torch::kMeta);
    target.tensors = {{"a", torch::empty({2}, meta)},
                      {"b", torch::empty({2}, meta)},
                      {"c", torch::ones({2})},
                      {"d", torch::empty({2}, meta), TensorKind::kNonPersistentBuffer}};
    const auto teacher = only_on_root(communicator, {{"b", torch::ones({2})}});
    FillOptions options;
    options.strict = false;
    EXPECT_THAT(error_of<BuildError>([&] { fill_tensors(target, teacher, communicator, options); }),
                AllOf(HasSubstr("a, d: are not in the teacher"), HasSubstr("no record")));
  });
}

}  // namespace
}  // namespace fakescore
