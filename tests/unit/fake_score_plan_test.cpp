// The dry run says what the job then does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <thread>

#include "fakescore/comm/make_communicator.hpp"
#include "fakescore/models/registry.hpp"
#include "fakescore/module/module_source.hpp"
#include "fakescore/module/plan_fake_score.hpp"
#include "fakescore/teacher/save_safetensors.hpp"
#include "support/error_of.hpp"
#include "support/faulty_communicator.hpp"
#include "support/root_teacher.hpp"
#include "support/temp_folder.hpp"
#include "support/tiny_models.hpp"

namespace fakescore {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::NamedTensors;
using testing::PlainModule;

const std::filesystem::path kModels = std::filesystem::path(FAKESCORE_TEST_DATA) / "models";
const std::filesystem::path kDigits =
    std::filesystem::path(FAKESCORE_SOURCE_DIR) / "examples/digits";

template <typename Item>
std::vector<std::string> names_of(const std::vector<Item>& items) {
  std::vector<std::string> names;
  for (const Item& item : items) names.push_back(item.name);
  return names;
}

std::shared_ptr<torch::nn::Module> module_of(const NamedTensors& parameters) {
  auto module = std::make_shared<torch::nn::Module>();
  for (const auto& entry : parameters) module->register_parameter(entry.name, entry.tensor.clone());
  return module;
}

/// What the root of a job of two threads reports, and how often it broadcast.
MetaReport run_job(const ModuleBuilder& build, const TeacherSource& teacher,
                   const MetaOptions& options, size_t& broadcasts) {
  auto world = make_local_communicators(2);
  std::thread other([&] { create_fake_score_meta(build, teacher, *world[1], options); });
  const auto counted = testing::make_faulty(*world[0], {"bulk", [&] { ++broadcasts; }});
  MetaReport report = create_fake_score_meta(build, teacher, *counted, options).report;
  other.join();
  return report;
}

/// Plans a job, runs it, and compares; returns the plan.
DryRunReport expect_as_planned(const ModuleBuilder& build, const TeacherSource& teacher,
                               MetaOptions options = {}) {
  options.strict = false;
  if (options.read == TeacherRead::kAuto) options.read = TeacherRead::kRoot;
  const DryRunReport plan = plan_fake_score(build, teacher, 2, options);
  size_t broadcasts = 0;
  const MetaReport report = run_job(build, teacher, options, broadcasts);
  EXPECT_EQ(plan.broadcasts, broadcasts);
  EXPECT_EQ(plan.read, report.read);
  uint64_t read_by_each = 0;
  for (const PhaseReport& phase : report.phases) {
    const bool is_read = phase.name == "move" && report.read == TeacherRead::kEveryRank;
    if (is_read) read_by_each = phase.bytes;
  }
  EXPECT_EQ(plan.wire_bytes, report.bytes - read_by_each);
  EXPECT_EQ(plan.missing, report.missing);
  EXPECT_EQ(plan.unexpected, report.unexpected);
  EXPECT_EQ(names_of(plan.replayed), report.replayed);
  EXPECT_EQ(names_of(plan.cast), names_of(report.cast));
  for (const PhaseReport& phase : report.phases) {
    if (phase.name == "replay") {
      EXPECT_EQ(plan.replayed_bytes, phase.bytes);
    }
  }
  return plan;
}

TEST(DryRunReport, OfARegisteredClass) {
  const auto plan =
      expect_as_planned([] { return build_teacher_from_config(kDigits / "config.json"); },
                        TeacherSource::path(kDigits));
  ASSERT_EQ(plan.replayed.size(), 1U);
  EXPECT_EQ(plan.replayed[0].name, "pos_embed.pos_embed");
  EXPECT_EQ(plan.replayed[0].kind, TensorKind::kNonPersistentBuffer);
  EXPECT_GT(plan.replayed_bytes, 0U);
  EXPECT_EQ(plan.in_place.size(), 82U);
  EXPECT_THAT(plan.assembled, IsEmpty());
  EXPECT_EQ(plan.memory.mapped_files,
            std::filesystem::file_size(kDigits / "diffusion_pytorch_model.safetensors"));
}

TEST(DryRunReport, OfAJobInWhichEveryRankReads) {
  const auto build = [] { return build_teacher_from_config(kDigits / "config.json"); };
  const auto teacher = TeacherSource::path(kDigits);
  MetaOptions options;
  options.read = TeacherRead::kEveryRank;
  const auto plan = expect_as_planned(build, teacher, options);
  EXPECT_GT(plan.wire_bytes, 0U);
  EXPECT_EQ(plan.wire_bytes, plan.replayed_bytes);
  EXPECT_EQ(plan.in_place.size(), 82U);
  const auto automatic = plan_fake_score(build, teacher, 2);
  EXPECT_EQ(automatic.read, TeacherRead::kRoot);
  EXPECT_GT(automatic.wire_bytes, plan.wire_bytes);
  EXPECT_GT(automatic.memory.buckets, plan.memory.buckets);
  EXPECT_EQ(automatic.memory.mapped_files, plan.memory.mapped_files);
}

TEST(DryRunReport, CountsEveryFileOfADistributedCheckpoint) {
  const auto data = std::filesystem::path(FAKESCORE_TEST_DATA) / "dcp";
  for (const char* name : {"0000003.net_model", "mesh", "hf_shards"}) {
    const auto teacher = TeacherSource::path(data / name);
    const auto tensors = teacher.open()->tensors();
    const auto plan = expect_as_planned([&] { return build_checkpoint_module(tensors); }, teacher);
    uint64_t bytes = 0;
    for (const auto& entry : std::filesystem::directory_iterator(data / name)) {
      if (entry.path().filename() != ".metadata") bytes += entry.file_size();
    }
    EXPECT_EQ(plan.memory.mapped_files, bytes) << name;
  }
}

TEST(DryRunReport, CountsTheShardsAndNotTheirIndex) {
  const auto folder = kModels / "wan_sharded";
  const auto teacher = TeacherSource::path(folder);
  const auto tensors = teacher.open()->tensors();
  const auto plan = expect_as_planned([&] { return build_checkpoint_module(tensors); }, teacher);
  uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".safetensors") bytes += entry.file_size();
  }
  EXPECT_EQ(plan.memory.mapped_files, bytes);
}

TEST(DryRunReport, SaysWhichFileItTookAsTheJobDoes) {
  const testing::TempFolder folder;
  const NamedTensors tensors{{"w", torch::ones(2)}};
  save_safetensors(folder / "model.safetensors", tensors);
  save_safetensors(folder / "ema.safetensors", tensors);
  const auto build = [&] { return module_of(tensors); };
  const auto plan = plan_fake_score(build, TeacherSource::path(folder.path()), 2);
  EXPECT_EQ(plan.choice.taken, folder / "model.safetensors");
  EXPECT_THAT(plan.choice.passed_over, ElementsAre((folder / "ema.safetensors").string()));
  // Another rank, which does not open the teacher, reports it too.
  auto world = make_local_communicators(2);
  MetaOptions options;
  options.read = TeacherRead::kRoot;
  MetaReport report;
  std::thread other([&] {
    report = create_fake_score_meta(build, TeacherSource::path("/nonexistent"), *world[1], options)
                 .report;
  });
  create_fake_score_meta(build, TeacherSource::path(folder.path()), *world[0], options);
  other.join();
  EXPECT_EQ(report.choice.taken, plan.choice.taken);
  EXPECT_EQ(report.choice.passed_over, plan.choice.passed_over);
}

TEST(DryRunReport, ATeacherOfNothingIsAnErrorForEveryKindOfTeacher) {
  const NamedTensors whole{{"w", torch::ones(2)}};
  const auto build = [&] { return module_of(whole); };
  MetaOptions lenient;
  lenient.strict = false;
  const auto plan_error = [&](const TeacherSource& teacher) {
    return error_of<TeacherError>([&] { plan_fake_score(build, teacher, 2, lenient); });
  };
  EXPECT_THAT(plan_error(TeacherSource::state_dict({})), HasSubstr("holds no tensor"));
  EXPECT_THAT(plan_error(module_source(std::make_shared<torch::nn::Module>())),
              HasSubstr("holds no tensor"));
  const NamedTensors placeholders{{"w", torch::ones(0)}};
  EXPECT_THAT(plan_error(TeacherSource::state_dict(placeholders)), HasSubstr("placeholder"));
  EXPECT_THAT(plan_error(module_source(module_of(placeholders))), HasSubstr("placeholder"));
  EXPECT_THAT(plan_error(TeacherSource::state_dict(whole).map_keys(
                  [](const std::string&) { return std::nullopt; })),
              HasSubstr("holds no tensor"));
}

TEST(DryRunReport, OfOneRankSendsNothing) {
  for (const TeacherRead read : {TeacherRead::kAuto, TeacherRead::kRoot, TeacherRead::kEveryRank}) {
    MetaOptions options;
    options.read = read;
    const auto plan =
        plan_fake_score([] { return build_teacher_from_config(kDigits / "config.json"); },
                        TeacherSource::path(kDigits), 1, options);
    EXPECT_EQ(plan.read, TeacherRead::kRoot);
    EXPECT_EQ(plan.broadcasts + plan.wire_bytes + plan.replayed_bytes + plan.memory.buckets, 0U);
    EXPECT_EQ(plan.replayed.size(), 1U);
    EXPECT_GT(plan.memory.mapped_files, 0U);
  }
}

TEST(DryRunReport, OfMixedDtypesAndShards) {
  for (const char* model : {"wan_bf16", "wan_sharded"}) {
    const auto teacher = TeacherSource::path(kModels / model);
    const auto tensors = teacher.open()->tensors();
    for (const size_t bucket_bytes : {size_t{4096}, kDefaultBucketBytes}) {
      MetaOptions options;
      options.bucket_bytes = bucket_bytes;
      options.dtype = at::kFloat;
      options.dtype_rules = {{"norm", at::kBFloat16}, {"proj_out", at::kDouble}};
      const auto plan =
          expect_as_planned([&] { return build_checkpoint_module(tensors); }, teacher, options);
      EXPECT_FALSE(plan.cast.empty());
      EXPECT_LE(plan.memory.buckets, 4 * bucket_bytes);
      EXPECT_GT(plan.memory.buckets, 0U);
    }
  }
}

TEST(DryRunReport, OfEverythingAwkward) {
  const testing::AwkwardModule module;
  NamedTensors tensors = testing::persistent_tensors(module);
  std::erase_if(tensors, [](const auto& entry) {
    return entry.name == "tied" || entry.name == "column" || entry.name == "mask";
  });
  tensors.push_back({"ghost", torch::ones(3)});
  const auto build = [] { return std::make_shared<testing::AwkwardModule>(); };
  const auto source = TeacherSource::state_dict(tensors);
  const auto plan = expect_as_planned(build, source);
  EXPECT_THAT(plan.shared,
              ElementsAre(ElementsAre("weight", "tied"), ElementsAre("flat", "rows", "column")));
  EXPECT_THAT(plan.missing, ElementsAre("mask"));
  EXPECT_THAT(plan.unexpected, ElementsAre("ghost"));
  EXPECT_THAT(names_of(plan.replayed), ElementsAre("mask", "angles", "(unregistered 0)"));
  EXPECT_EQ(plan.replayed[0].kind, TensorKind::kBuffer);
  EXPECT_THAT(plan.assembled, ::testing::IsSupersetOf({"channels_last", "flat", "rows"}));
  EXPECT_EQ(plan.memory.mapped_files, 0U);
  EXPECT_EQ(plan.memory.largest_copy, 300U * 1000U * sizeof(float));
  MetaOptions narrower;
  narrower.dtype = at::kBFloat16;
  expect_as_planned(build, source, narrower);
}

TEST(DryRunReport, NamesWhatIsRenamed) {
  const auto source = TeacherSource::state_dict({{"net.counter", torch::ones(1).to(at::kLong)}});
  const auto plan = plan_fake_score([] { return std::make_shared<PlainModule>(); },
                                    source.strip_prefix("net."), 3);
  ASSERT_EQ(plan.renamed.size(), 1U);
  EXPECT_EQ(plan.renamed[0].stored, "net.counter");
  EXPECT_EQ(plan.renamed[0].name, "counter");
  EXPECT_EQ(plan.world_size, 3);
}

TEST(DryRunReport, SaysWhatAStrictJobWouldThrow) {
  const auto source = TeacherSource::state_dict({{"ghost", torch::ones(1)}});
  const auto build = [] { return std::make_shared<PlainModule>(); };
  const auto plan = plan_fake_score(build, source, 1);
  ASSERT_TRUE(plan.strict_failure);
  const auto alone = make_local_communicators(1);
  try {
    create_fake_score_meta(build, source, *alone.front());
    FAIL() << "nothing was thrown";
  } catch (const TeacherError& error) {
    EXPECT_EQ(error.info().message, plan.strict_failure->message);
    EXPECT_EQ(error.info().subject, plan.strict_failure->subject);
  }
  MetaOptions lenient;
  lenient.strict = false;
  EXPECT_FALSE(plan_fake_score(build, source, 1, lenient).strict_failure);
}

TEST(DryRunReport, OfAGpuNeedsNone) {
  MetaOptions options;
  options.device = at::Device(at::kCUDA, 5);
  options.pinned_bytes = size_t{1} << 20;
  const auto teacher = TeacherSource::path(kDigits);
  const auto build = [] { return build_teacher_from_config(kDigits / "config.json"); };
  const auto plan = plan_fake_score(build, teacher, 8, options);
  const auto host = plan_fake_score(build, teacher, 8);
  EXPECT_EQ(plan.memory.pinned, options.pinned_bytes);
  EXPECT_EQ(host.memory.pinned, 0U);
  EXPECT_EQ(plan.wire_bytes, host.wire_bytes);
  EXPECT_LT(plan.broadcasts, host.broadcasts);
}

TEST(DryRunReport, ReadsNoValues) {
  const auto build = [] {
    auto module = std::make_shared<torch::nn::Module>();
    module->register_parameter("head", module->register_parameter("embed", torch::zeros({4})));
    return module;
  };
  const auto contradictory =
      TeacherSource::state_dict({{"embed", torch::ones(4)}, {"head", torch::zeros(4)}});
  EXPECT_EQ(plan_fake_score(build, contradictory, 2).in_place.size(), 2U);
  const auto alone = make_local_communicators(1);
  EXPECT_THROW(create_fake_score_meta(build, contradictory, *alone.front()), TeacherError);
}

TEST(DryRunReport, FailsAsTheJobWould) {
  const auto build = [] { return std::make_shared<PlainModule>(); };
  const auto source = TeacherSource::state_dict({{"counter", torch::ones(7)}});
  EXPECT_THAT(error_of<TeacherError>([&] { plan_fake_score(build, source, 1); }),
              AllOf(HasSubstr("counter"), HasSubstr("shape"), HasSubstr("in plan")));
  EXPECT_THAT(
      error_of<TeacherError>([&] { plan_fake_score(build, TeacherSource::path("/nowhere"), 1); }),
      HasSubstr("/nowhere"));
  EXPECT_THAT(error_of<BuildError>([&] { plan_fake_score({}, source, 1); }), HasSubstr("in build"));
  EXPECT_THAT(error_of<BuildError>([&] {
                plan_fake_score(
                    []() -> std::shared_ptr<torch::nn::Module> { throw std::runtime_error("oh"); },
                    source, 1);
              }),
              HasSubstr("oh"));
  EXPECT_THAT(error_of<ConfigError>([&] { plan_fake_score(build, source, 0); }),
              HasSubstr("world size"));
  MetaOptions options;
  options.root = 4;
  EXPECT_THAT(error_of<ConfigError>([&] { plan_fake_score(build, source, 4, options); }),
              HasSubstr("4 is not a rank of a job of 4 ranks"));
}

}  // namespace
}  // namespace fakescore
