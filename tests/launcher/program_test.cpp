// The fakescore program as its user starts it alone: options, the report, what it writes.

#include "launcher/program.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "fakescore/teacher/save_safetensors.hpp"
#include "support/temp_folder.hpp"

namespace fakescore {
namespace {

using ::testing::AllOf;
using testing::bit_equal;
using testing::expect_same_tensors;
using ::testing::HasSubstr;
using testing::kDigits;
using testing::kModels;
using ::testing::Not;
using testing::program;
using testing::read_tensors;
using testing::run_of;
using testing::shell_quoted;
using testing::TempFolder;

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TEST(Program, ExplainsItself) {
  const auto help = program("--help");
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.output, AllOf(HasSubstr("run"), HasSubstr("plan"), HasSubstr("inspect"),
                                 HasSubstr("Exit codes")));
  const auto run_help = program("run --help");
  EXPECT_EQ(run_help.exit_code, 0);
  for (const char* text :
       {"--teacher",   "--config",       "--dtype",  "--bucket-bytes", "--timeout",
        "--strict",    "--verify",       "--output", "--json",         "--quiet",
        "--device",    "--pinned-bytes", "--key",    "--variant",      "--read",
        "--subfolder", "--strip-prefix", "--map",    "--dtype-rule",   "Exit codes"}) {
    EXPECT_THAT(run_help.output, HasSubstr(text));
  }
  const auto version = program("--version");
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_EQ(version.output, "fakescore " FAKESCORE_VERSION "\n");
}

TEST(Program, AloneItWritesWhatItReceived) {
  const TempFolder folder;
  const auto result = program(run_of(kDigits) + " --output " + shell_quoted(folder / "o") +
                              " --json " + shell_quoted(folder / "r.json"));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, AllOf(HasSubstr("DiTTransformer2DModel"), HasSubstr("move"),
                                   HasSubstr("read by     the one rank\n"), HasSubstr("digest"),
                                   HasSubstr("pos_embed.pos_embed")));
  expect_same_tensors(kDigits, folder / "o");
  const auto report = nlohmann::json::parse(read_text(folder / "r.json"));
  EXPECT_EQ(report["world_size"], 1);
  EXPECT_EQ(report["replayed"], nlohmann::json::array({"pos_embed.pos_embed"}));
  EXPECT_EQ(report["missing"].size(), 0U);
  EXPECT_TRUE(report["has_forward"]);
  EXPECT_EQ(report["digest"].get<std::string>().size(), 32U);
  // What it wrote is a teacher again.
  EXPECT_EQ(program("run --quiet --teacher " + shell_quoted(folder / "o")).output, "");
}

/// Shards of `digits` with their index, and beside them a file of other values.
void write_with_stray_file(const TempFolder& folder) {
  const auto tensors = testing::read_tensors(kDigits);
  std::vector<NamedTensor> halves[2];
  std::vector<NamedTensor> stray;
  nlohmann::json weight_map = nlohmann::json::object();
  const std::string names[] = {"diffusion_pytorch_model-00001-of-00002.safetensors",
                               "diffusion_pytorch_model-00002-of-00002.safetensors"};
  for (const auto& [name, tensor] : tensors) {
    const size_t half = stray.size() % 2;
    halves[half].push_back({name, tensor});
    weight_map[name] = names[half];
    stray.push_back({name, torch::zeros_like(tensor)});
  }
  for (size_t i = 0; i < 2; ++i) save_safetensors(folder / names[i], halves[i]);
  save_safetensors(folder / "diffusion_pytorch_model.safetensors", stray);
  std::ofstream(folder / "diffusion_pytorch_model.safetensors.index.json")
      << nlohmann::json{{"metadata", nlohmann::json::object()}, {"weight_map", weight_map}};
  std::filesystem::copy(kDigits / "config.json", folder / "config.json");
}

TEST(Program, SaysWhichFileItTookAndWhatItPassedOver) {
  const TempFolder folder;
  write_with_stray_file(folder);
  const std::string index = (folder / "diffusion_pytorch_model.safetensors.index.json").string();
  const std::string stray = (folder / "diffusion_pytorch_model.safetensors").string();
  const auto said = AllOf(HasSubstr("file        " + index + "\n"),
                          HasSubstr("passed over 1\n  " + stray + "\n"));
  const auto run = program(run_of(folder.path()) + " --output " + shell_quoted(folder / "o") +
                           " --json " + shell_quoted(folder / "r.json"));
  ASSERT_EQ(run.exit_code, 0) << run.output;
  EXPECT_THAT(run.output, said);
  expect_same_tensors(kDigits, folder / "o");
  const auto plan = program("plan --ranks 2 --teacher " + shell_quoted(folder.path()) + " --json " +
                            shell_quoted(folder / "p.json"));
  EXPECT_EQ(plan.exit_code, 0);
  EXPECT_THAT(plan.output, said);
  for (const char* report : {"r.json", "p.json"}) {
    const auto json = nlohmann::json::parse(read_text(folder / report));
    EXPECT_EQ(json["file"], index) << report;
    EXPECT_EQ(json["passed_over"], nlohmann::json::array({stray})) << report;
  }
  const auto inspected = program("inspect " + shell_quoted(folder.path()));
  EXPECT_EQ(inspected.exit_code, 0);
  EXPECT_THAT(inspected.output, said);
}

TEST(Program, DoesNotWriteBesideAnIndexThatWouldBeReadInstead) {
  const TempFolder folder;
  write_with_stray_file(folder);
  const auto result = program(run_of(kDigits) + " --output " + shell_quoted(folder.path()));
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("safetensors.index.json"), HasSubstr("would be read in place of")));
}

TEST(Program, DoesNotWriteBesideAConfigurationOfAnotherModel) {
  const TempFolder folder;
  const auto teacher = folder / "plain.safetensors";
  save_safetensors(teacher, {{"layer.weight", torch::ones({2, 2})}});
  std::filesystem::create_directory(folder / "o");
  std::filesystem::copy(kDigits / "config.json", folder / "o/config.json");
  const std::string command =
      "run --quiet --teacher " + shell_quoted(teacher) + " --output " + shell_quoted(folder / "o");
  const auto refused = program(command);
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.output, AllOf(HasSubstr("o/config.json"), HasSubstr("remove the file")));
  EXPECT_FALSE(std::filesystem::exists(folder / "o/diffusion_pytorch_model.safetensors"));
  std::filesystem::remove(folder / "o/config.json");
  EXPECT_EQ(program(command).output, "");
  // Once more into what it wrote itself.
  EXPECT_EQ(program(command).output, "");
}

TEST(Program, ATeacherOfNothingIsNoSuccess) {
  const TempFolder folder;
  save_safetensors(folder / "none.safetensors", {});
  save_safetensors(folder / "zero3.safetensors", {{"a.weight", torch::empty({0})}});
  for (const char* command : {"run", "plan --ranks 2", "inspect"}) {
    const bool inspects = std::string(command) == "inspect";
    const std::string begin = std::string(command) + (inspects ? " " : " --no-strict --teacher ");
    const auto none = program(begin + shell_quoted(folder / "none.safetensors"));
    EXPECT_EQ(none.exit_code, 3) << none.output;
    EXPECT_THAT(none.output, HasSubstr("holds no tensor"));
    if (inspects) continue;  // which says that there are no elements
    const auto placeholders = program(begin + shell_quoted(folder / "zero3.safetensors"));
    EXPECT_EQ(placeholders.exit_code, 3) << placeholders.output;
    EXPECT_THAT(placeholders.output, HasSubstr("placeholders"));
  }
}

TEST(Program, SaysWhatIsMissingForAGpu) {
  const auto result =
      testing::run_shell("env CUDA_VISIBLE_DEVICES= " + shell_quoted(FAKESCORE_PROGRAM) + " " +
                         run_of(kDigits) + " --device cuda");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.output, HasSubstr("device cuda"));
}

TEST(Program, CastsOnRequest) {
  const TempFolder folder;
  const auto result =
      program(run_of(kDigits) + " --dtype bfloat16 --output " + shell_quoted(folder.path()));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("Float to BFloat16"));
  const auto want = read_tensors(kDigits);
  for (const auto& [name, tensor] : read_tensors(folder.path())) {
    EXPECT_TRUE(bit_equal(tensor, want.at(name).to(at::kBFloat16))) << name;
  }
}

TEST(Program, FillsClassesThatAreNotRegistered) {
  for (const char* name : {"wan", "wan_sharded", "wan_bf16", "qwen_image", "flux", "unet2d"}) {
    const TempFolder folder;
    const auto result =
        program(run_of(kModels / name) + " --output " + shell_quoted(folder.path()));
    ASSERT_EQ(result.exit_code, 0) << name << result.output;
    EXPECT_THAT(result.output, HasSubstr("no forward"));
    expect_same_tensors(kModels / name, folder.path());
  }
}

/// Runs with `options`, and returns the names of what was written; of a failure, its output.
std::string names_written(const std::string& options, int exit_code) {
  const TempFolder folder;
  const auto result = program("run --quiet " + options + " --output " + shell_quoted(folder / "o"));
  EXPECT_EQ(result.exit_code, exit_code) << result.output;
  if (result.exit_code != 0) return result.output;
  std::string names;
  for (const auto& [name, tensor] : read_tensors(folder / "o")) names += name + ' ';
  return names;
}

TEST(Program, TakesAKeyOfATorchFile) {
  const auto nested =
      "--teacher " +
      shell_quoted(std::filesystem::path(FAKESCORE_TEST_DATA) / "torch/nested_4.pt") + " --key ";
  const std::string of_model = names_written(nested + "model", 0);
  const std::string of_ema = names_written(nested + "ema.params.decay.inner", 0);
  EXPECT_THAT(of_model, HasSubstr("0.weight"));
  EXPECT_THAT(of_ema, HasSubstr("weight"));
  EXPECT_THAT(names_written(nested + "modle", 3),
              AllOf(HasSubstr("no dict under the key modle"), HasSubstr("model")));
}

TEST(Program, TakesAVariantOfAFolder) {
  const TempFolder folder;
  save_safetensors(folder / "model.safetensors", {{"whole", torch::ones(2)}});
  save_safetensors(folder / "model.fp16.safetensors", {{"half", torch::ones(2)}});
  const auto teacher = "--teacher " + shell_quoted(folder.path());
  EXPECT_EQ(names_written(teacher, 0), "whole ");
  EXPECT_EQ(names_written(teacher + " --variant fp16", 0), "half ");
  EXPECT_THAT(names_written(teacher + " --variant int4", 3),
              AllOf(HasSubstr("no checkpoint of the variant int4"), HasSubstr("fp16")));
}

TEST(Program, TakesASubfolderOfAFolder) {
  const TempFolder folder;
  for (const char* part : {"transformer", "vae"}) {
    std::filesystem::create_directory(folder / part);
    save_safetensors(folder / part / "model.safetensors", {{part, torch::ones(2)}});
  }
  const auto teacher = "--teacher " + shell_quoted(folder.path());
  EXPECT_EQ(names_written(teacher + " --subfolder vae", 0), "vae ");
  EXPECT_THAT(names_written(teacher + " --subfolder unet", 3),
              AllOf(HasSubstr("no subfolder unet"), HasSubstr("transformer, vae")));
}

TEST(Program, StrictnessIsAChoice) {
  const TempFolder folder;
  auto tensors = read_tensors(kDigits);
  tensors.erase("proj_out_2.bias");
  tensors["ghost"] = torch::ones(1);
  std::vector<NamedTensor> listed;
  for (const auto& [name, tensor] : tensors) listed.push_back({name, tensor});
  save_safetensors(folder / "model.safetensors", listed);
  std::filesystem::copy(kDigits / "config.json", folder / "config.json");
  const auto strict = program(run_of(folder.path()));
  EXPECT_EQ(strict.exit_code, 3);
  EXPECT_THAT(strict.output, AllOf(HasSubstr("proj_out_2.bias"), HasSubstr("ghost")));
  const auto lenient = program(run_of(folder.path()) + " --no-strict");
  EXPECT_EQ(lenient.exit_code, 0);
  EXPECT_THAT(lenient.output, AllOf(HasSubstr("proj_out_2.bias"), HasSubstr("ghost")));
}

TEST(Program, InspectListsTensors) {
  const auto result = program("inspect " + shell_quoted(kModels / "wan_sharded"));
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.output, AllOf(HasSubstr("00001-of-00003"), HasSubstr("patch_embedding.weight"),
                                   HasSubstr("tensors,")));
  const TempFolder folder;
  const auto x = torch::randn({4, 4});
  save_safetensors(folder / "tied.safetensors", {{"a", x}, {"b", x}});
  EXPECT_THAT(program("inspect " + shell_quoted(folder / "tied.safetensors")).output,
              HasSubstr("same bytes as a"));
}

/// A copy of the digits model in a folder of its own.
class ProgramsDestinations : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(teacher_);
    for (const char* name : {"config.json", "diffusion_pytorch_model.safetensors"}) {
      std::filesystem::copy(kDigits / name, teacher_ / name);
      before_[name] = read_text(teacher_ / name);
    }
  }

  /// Expects a configuration error that names `path`, before the job: no table, no teacher read.
  void expect_refused(const std::string& arguments, const std::filesystem::path& path) {
    const auto result = program(run_of(teacher_) + " " + arguments);
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_THAT(result.output, AllOf(HasSubstr("configuration error"), HasSubstr(path.string()),
                                     Not(HasSubstr("move")), Not(HasSubstr("digest"))));
    for (const auto& [name, text] : before_) EXPECT_TRUE(read_text(teacher_ / name) == text);
  }

  TempFolder folder_;
  std::filesystem::path teacher_ = folder_ / "teacher";
  std::map<std::string, std::string> before_;
};

TEST_F(ProgramsDestinations, TheTeachersOwnFolderIsRefused) {
  const auto link = folder_ / "link";
  std::filesystem::create_directory_symlink(teacher_, link);
  for (const auto& output : {teacher_, link, teacher_ / "../teacher"}) {
    expect_refused("--output " + shell_quoted(output), output);
  }
  const auto weights = teacher_ / "diffusion_pytorch_model.safetensors";
  const auto result = program(run_of(weights) + " --output " + shell_quoted(weights.parent_path()));
  EXPECT_EQ(result.exit_code, 2) << result.output;
  for (const char* name : {"config.json", "diffusion_pytorch_model.safetensors"}) {
    expect_refused("--json " + shell_quoted(teacher_ / name), teacher_ / name);
  }
}

TEST_F(ProgramsDestinations, ATeachersOtherFilesAreRefused) {
  const auto weights = teacher_ / "diffusion_pytorch_model.safetensors";
  const auto link = folder_ / "link.safetensors";
  std::filesystem::create_symlink(weights, link);
  for (const char* name :
       {".metadata", "__0_0.distcp", "model.safetensors.index.json", "model-2.safetensors"}) {
    for (const auto& teacher : {teacher_, weights, link}) {
      const auto result =
          program(run_of(teacher) + " --config " + shell_quoted(teacher_ / "config.json") +
                  " --json " + shell_quoted(teacher_ / name));
      EXPECT_EQ(result.exit_code, 2) << result.output;
      EXPECT_THAT(result.output, AllOf(HasSubstr(name), HasSubstr("a file that the job reads")));
      EXPECT_FALSE(std::filesystem::exists(teacher_ / name));
    }
  }
  const auto report = teacher_ / "report.json";
  EXPECT_EQ(program(run_of(weights) + " --quiet --json " + shell_quoted(report)).exit_code, 0);
}

TEST_F(ProgramsDestinations, WhatCannotBeWrittenIsFoundBeforeTheJob) {
  const auto file = folder_ / "file";
  std::ofstream(file) << "not a folder";
  const std::filesystem::path unwritable = "/proc";
  for (const auto& output : {file, file / "below", unwritable}) {
    expect_refused("--output " + shell_quoted(output), output);
  }
  for (const auto& json : {folder_ / "missing/r.json", folder_.path(), file / "r.json"}) {
    expect_refused("--json " + shell_quoted(json), json);
  }
}

TEST_F(ProgramsDestinations, ARefusedJobLeavesAnOldReport) {
  const auto json = folder_ / "r.json";
  std::ofstream(json) << "old";
  expect_refused("--json " + shell_quoted(json) + " --output /proc", "/proc");
  EXPECT_EQ(read_text(json), "old");
  std::filesystem::remove(json);
  expect_refused("--json " + shell_quoted(json) + " --output /proc", "/proc");
  EXPECT_FALSE(std::filesystem::exists(json));
}

TEST_F(ProgramsDestinations, TheTableIsPrintedThoughWritingFails) {
  const auto result = program(run_of(teacher_) + " --json /dev/full");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.output, AllOf(HasSubstr("digest"), HasSubstr("/dev/full")));
}

}  // namespace
}  // namespace fakescore
