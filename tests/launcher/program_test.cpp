// The fakescore program as its user starts it: alone, under mpirun, torchrun and Slurm's variables.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <fstream>
#include <future>
#include <map>
#include <nlohmann/json.hpp>

#include "fakescore/core/teacher_source.hpp"
#include "support/shell.hpp"
#include "support/temp_folder.hpp"
#include "support/tensor_checks.hpp"

namespace fakescore {
namespace {

using ::testing::AllOf;
using testing::bit_equal;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::run_shell;
using testing::ShellResult;
using testing::TempFolder;

const std::string kProgram = FAKESCORE_PROGRAM;
const std::string kDigits = std::string(FAKESCORE_SOURCE_DIR) + "/examples/digits";
const std::string kModels = std::string(FAKESCORE_TEST_DATA) + "/models/";

ShellResult program(const std::string& arguments) { return run_shell(kProgram + " " + arguments); }

std::map<std::string, at::Tensor> tensors_of(const std::filesystem::path& path) {
  const auto teacher = TeacherSource::path(path).open();
  std::map<std::string, at::Tensor> tensors;
  for (size_t i = 0; i < teacher->tensors().size(); ++i) {
    tensors[teacher->tensors()[i].name] = teacher->read(i);
  }
  return tensors;
}

void expect_same_tensors(const std::filesystem::path& a, const std::filesystem::path& b) {
  const auto want = tensors_of(a);
  const auto got = tensors_of(b);
  ASSERT_EQ(want.size(), got.size());
  for (const auto& [name, tensor] : want) EXPECT_TRUE(bit_equal(tensor, got.at(name))) << name;
}

nlohmann::json read_json(const std::filesystem::path& path) {
  std::ifstream file(path);
  return nlohmann::json::parse(file);
}

TEST(Program, ExplainsItself) {
  const auto help = program("--help");
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.output, AllOf(HasSubstr("run"), HasSubstr("inspect"), HasSubstr("Exit codes")));
  const auto run_help = program("run --help");
  EXPECT_EQ(run_help.exit_code, 0);
  for (const char* option : {"--teacher", "--config", "--dtype", "--bucket-bytes", "--timeout",
                             "--strict", "--verify", "--output", "--json", "--quiet"}) {
    EXPECT_THAT(run_help.output, HasSubstr(option));
  }
  const auto version = program("--version");
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_EQ(version.output, "fakescore 0.1.0\n");
}

TEST(Program, BadUsageIsExitCodeTwo) {
  for (const char* arguments : {"", "fly", "run", "run --teacher", "run --teacher x --dtype int7",
                                "run --teacher x --bucket-bytes 1", "run --teacher x --timeout -1",
                                "run --teacher x --frob", "inspect"}) {
    EXPECT_EQ(program(arguments).exit_code, 2) << arguments;
  }
  const auto config = program("run --teacher " + kDigits + " --config /nonexistent.json");
  EXPECT_EQ(config.exit_code, 2);
  EXPECT_THAT(config.output, HasSubstr("/nonexistent.json"));
}

TEST(Program, ABadLaunchEnvironmentIsExitCodeTwo) {
  const auto result =
      run_shell("env RANK=abc WORLD_SIZE=2 " + kProgram + " run --teacher " + kDigits);
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.output, AllOf(HasSubstr("RANK"), HasSubstr("abc")));
}

TEST(Program, ABadTeacherIsExitCodeThree) {
  const TempFolder folder;
  std::filesystem::copy(kDigits + "/config.json", folder / "config.json");
  const auto weights = folder / "diffusion_pytorch_model.safetensors";
  std::filesystem::copy(kDigits + "/diffusion_pytorch_model.safetensors", weights);
  std::filesystem::resize_file(weights, 1'000'000);
  const auto truncated = program("run --teacher " + folder.path().string());
  EXPECT_EQ(truncated.exit_code, 3);
  EXPECT_THAT(truncated.output, AllOf(HasSubstr("truncated"), HasSubstr(weights.string())));
  EXPECT_EQ(program("run --teacher /nonexistent").exit_code, 3);
  EXPECT_EQ(program("inspect /nonexistent").exit_code, 3);
}

TEST(Program, AloneItWritesWhatItReceived) {
  const TempFolder folder;
  const auto result = program("run --teacher " + kDigits + " --output " + (folder / "o").string() +
                              " --json " + (folder / "r.json").string());
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, AllOf(HasSubstr("DiTTransformer2DModel"), HasSubstr("move"),
                                   HasSubstr("digest"), HasSubstr("pos_embed.pos_embed")));
  expect_same_tensors(kDigits, folder / "o");
  const auto report = read_json(folder / "r.json");
  EXPECT_EQ(report["world_size"], 1);
  EXPECT_EQ(report["replayed"], nlohmann::json::array({"pos_embed.pos_embed"}));
  EXPECT_EQ(report["missing"].size(), 0U);
  EXPECT_TRUE(report["has_forward"]);
  EXPECT_EQ(report["digest"].get<std::string>().size(), 32U);
  // What it wrote is a teacher again.
  EXPECT_EQ(program("run --quiet --teacher " + (folder / "o").string()).output, "");
}

TEST(Program, CastsOnRequest) {
  const TempFolder folder;
  const auto result =
      program("run --dtype bfloat16 --teacher " + kDigits + " --output " + folder.path().string());
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("Float to BFloat16"));
  const auto want = tensors_of(kDigits);
  for (const auto& [name, tensor] : tensors_of(folder.path())) {
    EXPECT_TRUE(bit_equal(tensor, want.at(name).to(at::kBFloat16))) << name;
  }
}

TEST(Program, FillsClassesThatAreNotRegistered) {
  for (const char* name : {"wan", "wan_sharded", "wan_bf16", "qwen_image", "flux", "unet2d"}) {
    const TempFolder folder;
    const auto result =
        program("run --teacher " + kModels + name + " --output " + folder.path().string());
    ASSERT_EQ(result.exit_code, 0) << name << result.output;
    EXPECT_THAT(result.output, HasSubstr("no forward"));
    expect_same_tensors(kModels + name, folder.path());
  }
}

TEST(Program, StrictnessIsAChoice) {
  const TempFolder folder;
  auto tensors = tensors_of(kDigits);
  tensors.erase("proj_out_2.bias");
  tensors["ghost"] = torch::ones(1);
  save_safetensors(folder / "model.safetensors", {tensors.begin(), tensors.end()});
  std::filesystem::copy(kDigits + "/config.json", folder / "config.json");
  const auto strict = program("run --teacher " + folder.path().string());
  EXPECT_EQ(strict.exit_code, 3);
  EXPECT_THAT(strict.output, AllOf(HasSubstr("proj_out_2.bias"), HasSubstr("ghost")));
  const auto lenient = program("run --no-strict --teacher " + folder.path().string());
  EXPECT_EQ(lenient.exit_code, 0);
  EXPECT_THAT(lenient.output, AllOf(HasSubstr("proj_out_2.bias"), HasSubstr("ghost")));
}

TEST(Program, AnOutputThatCannotBeWrittenIsSaid) {
  const auto result = program("run --teacher " + kDigits + " --output /proc/nowhere");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.output, HasSubstr("/proc/nowhere"));
}

TEST(Program, InspectListsTensors) {
  const auto result = program("inspect " + kModels + "wan_sharded");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.output, AllOf(HasSubstr("00001-of-00003"), HasSubstr("patch_embedding.weight"),
                                   HasSubstr("tensors,")));
  const TempFolder folder;
  const auto x = torch::randn({4, 4});
  save_safetensors(folder / "tied.safetensors", {{"a", x}, {"b", x}});
  EXPECT_THAT(program("inspect " + (folder / "tied.safetensors").string()).output,
              HasSubstr("same bytes as a"));
}

void expect_job_output(const ShellResult& result, const TempFolder& folder, int ranks) {
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("the same on every rank"));
  EXPECT_THAT(result.output, HasSubstr("rank " + std::to_string(ranks - 1) + " "));
  expect_same_tensors(kDigits, folder.path());
}

#ifdef FAKESCORE_TEST_MPIEXEC
TEST(ProgramUnderMpirun, TheLastRankWritesTheTeachersBytes) {
  const TempFolder folder;
  const auto result =
      run_shell(FAKESCORE_TEST_MPIEXEC " --oversubscribe -n 3 " + kProgram + " run --teacher " +
                kDigits + " --output " + folder.path().string());
  expect_job_output(result, folder, 3);
}

TEST(ProgramUnderMpirun, AnErrorIsPrintedOnceAndIsTheJobsExitCode) {
  const auto result = run_shell(FAKESCORE_TEST_MPIEXEC " --oversubscribe -n 3 " + kProgram +
                                " run --teacher /nonexistent");
  EXPECT_EQ(result.exit_code, 3);
  const auto first = result.output.find("teacher error on rank 0");
  ASSERT_NE(first, std::string::npos) << result.output;
  EXPECT_EQ(result.output.find("teacher error on rank 0", first + 1), std::string::npos);
}
#endif

#ifdef FAKESCORE_TEST_TORCHRUN
TEST(ProgramUnderTorchrun, TheLastRankWritesTheTeachersBytes) {
  const TempFolder folder;
  const auto result =
      run_shell(FAKESCORE_TEST_TORCHRUN " --standalone --no-python --nproc-per-node 2 " + kProgram +
                " run --teacher " + kDigits + " --output " + folder.path().string());
  expect_job_output(result, folder, 2);
}
#endif

TEST(ProgramUnderSlurm, RanksMeetAtTheStoreOfRankZero) {
  const TempFolder folder;
  auto rank = [&](int number) {
    return run_shell("env SLURM_PROCID=" + std::to_string(number) +
                     " SLURM_NTASKS=2 SLURM_LOCALID=" + std::to_string(number) +
                     " SLURM_JOB_ID=" + std::to_string(::getpid()) +
                     " SLURM_LAUNCH_NODE_IPADDR=127.0.0.1 " + kProgram + " run --teacher " +
                     kDigits + " --output " + folder.path().string());
  };
  auto other = std::async(std::launch::async, rank, 1);
  const auto first = rank(0);
  EXPECT_EQ(other.get().exit_code, 0);
  expect_job_output(first, folder, 2);
}

}  // namespace
}  // namespace fakescore
