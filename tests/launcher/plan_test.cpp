// `fakescore plan`: the dry run, for small models and for published ones of their true size.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <torch/torch.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "fakescore/teacher/save_safetensors.hpp"
#include "launcher/program.hpp"
#include "support/sparse_checkpoint.hpp"
#include "support/temp_folder.hpp"

namespace fakescore {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::kDigits;
using testing::kModels;
using ::testing::Not;
using testing::program;
using testing::read_tensors;
using testing::shell_quoted;
using testing::SparseCheckpoint;
using testing::TempFolder;

std::string plan_of(const std::filesystem::path& teacher, int ranks = 8) {
  return "plan --ranks " + std::to_string(ranks) + " --teacher " + shell_quoted(teacher);
}

nlohmann::json read_json(const std::filesystem::path& path) {
  return nlohmann::json::parse(std::ifstream(path));
}

struct MeasuredRun {
  int status = -1;
  int64_t peak_bytes = 0;  ///< at least what this process had when it forked, which exec inherits
};

MeasuredRun run_measured(const std::vector<std::string>& arguments) {
  std::vector<char*> argv{const_cast<char*>(FAKESCORE_PROGRAM)};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(::open("/dev/null", O_WRONLY), STDOUT_FILENO);
    ::execv(FAKESCORE_PROGRAM, argv.data());
    ::_exit(127);
  }
  MeasuredRun run;
  rusage usage{};
  if (::wait4(child, &run.status, 0, &usage) == child) run.peak_bytes = usage.ru_maxrss * 1024;
  return run;
}

class PublishedModel : public ::testing::TestWithParam<const char*> {};

TEST_P(PublishedModel, IsPlannedFromItsHeaderAlone) {
  const TempFolder folder;
  const auto file = folder / "diffusion_pytorch_model.safetensors";
  const auto manifest = std::filesystem::path(FAKESCORE_TEST_DATA) / "manifests" /
                        (GetParam() + std::string(".json"));
  const auto model = read_json(manifest);
  const auto checkpoint = SparseCheckpoint::write(manifest, file);
  struct stat status {};
  ASSERT_EQ(::stat(file.c_str(), &status), 0);
  ASSERT_EQ(static_cast<uint64_t>(status.st_size), checkpoint.file_bytes);
  ASSERT_LT(status.st_blocks * 512, 1 << 20) << "the file is not sparse";

  const auto run =
      run_measured({"plan", "--teacher", folder.path(), "--ranks", "64", "--dtype", "float32",
                    "--dtype-rule", "bias$=bfloat16", "--json", folder / "plan.json"});
  ASSERT_TRUE(WIFEXITED(run.status));
  ASSERT_EQ(WEXITSTATUS(run.status), 0);
#ifndef FAKESCORE_SANITIZED
  EXPECT_LT(run.peak_bytes, int64_t{256} << 20);
#endif
  const auto plan = read_json(folder / "plan.json");
  uint64_t wire_bytes = 0;
  uint64_t storage_bytes = 0;
  uint64_t casts = 0;
  uint64_t narrowed = 0;
  for (const auto& entry : checkpoint.entries) {
    const bool to_float = !entry.name.ends_with("bias");
    const uint64_t elements = entry.bytes() / (entry.is_float ? 4 : 2);
    storage_bytes += elements * (to_float ? 4 : 2);
    wire_bytes += elements * (to_float && entry.is_float ? 4 : 2);
    casts += entry.is_float != to_float ? 1 : 0;
    narrowed += entry.is_float && !to_float ? 1 : 0;
  }
  const size_t tensors = checkpoint.entries.size();
  EXPECT_GE(tensors, model.at("tensors").get<size_t>());
  EXPECT_EQ(plan["cast"].size(), casts);
  EXPECT_EQ(plan["assembled"].size(), narrowed);
  EXPECT_EQ(plan["in_place"].size(), tensors - casts);
  EXPECT_EQ(plan["missing"].size() + plan["unexpected"].size() + plan["replayed"].size(), 0U);
  EXPECT_EQ(plan["memory"]["storage"], storage_bytes);
  EXPECT_EQ(plan["memory"]["mapped_files"], checkpoint.file_bytes);
  // Small pieces begin at multiples of 16 bytes.
  EXPECT_GE(plan["bytes"].get<uint64_t>(), wire_bytes);
  EXPECT_LT(plan["bytes"].get<uint64_t>(), wire_bytes + 16 * tensors);
  EXPECT_GE(plan["broadcasts"].get<uint64_t>(), wire_bytes >> 20);
}

INSTANTIATE_TEST_SUITE_P(Models, PublishedModel,
                         ::testing::Values("ddpm-cifar10-32-unet", "dit-xl-2-256", "flux.1-dev",
                                           "pixart-alpha-xl-2-512", "qwen-image", "sd3-medium",
                                           "sd3.5-large", "sdxl-base-unet", "wan2.1-t2v-1.3b",
                                           "wan2.1-t2v-14b"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::replace_if(
                               name.begin(), name.end(),
                               [](char c) { return c == '-' || c == '.'; }, '_');
                           return name;
                         });

TEST(Plan, SaysWhatRunWouldDo) {
  const TempFolder folder;
  const auto result = program(plan_of(kDigits) + " --json " + shell_quoted(folder / "plan.json"));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("dry run"), HasSubstr("DiTTransformer2DModel"), HasSubstr("8 (cpu)"),
                    HasSubstr("in place    82"), HasSubstr("replayed    1"),
                    HasSubstr("pos_embed.pos_embed (non-persistent buffer)"),
                    HasSubstr("page cache"), Not(HasSubstr("proj_out_2.bias"))));
  const auto ran = program(testing::run_of(kDigits) + " --json " + shell_quoted(folder / "r.json"));
  ASSERT_EQ(ran.exit_code, 0) << ran.output;
  const auto plan = read_json(folder / "plan.json");
  const auto report = read_json(folder / "r.json");
  for (const char* key :
       {"teacher", "class", "has_forward", "bytes", "missing", "unexpected", "cast"}) {
    EXPECT_EQ(plan[key], report[key]) << key;
  }
  EXPECT_EQ(plan["world_size"], 8);
  EXPECT_EQ(plan["replayed"][0]["reason"], "non-persistent buffer");
  EXPECT_TRUE(plan["strict_failure"].is_null());
  const auto gpu = program(plan_of(kDigits) + " --device cuda --all");
  EXPECT_EQ(gpu.exit_code, 0) << gpu.output;
  EXPECT_THAT(gpu.output,
              AllOf(HasSubstr("8 (cuda)"), HasSubstr("pinned"), HasSubstr("  proj_out_2.bias\n")));
}

TEST(Plan, SaysWhoReads) {
  const TempFolder folder;
  const auto json = folder / "plan.json";
  const auto plan = [&](const std::string& options, int ranks = 8) {
    const auto result =
        program(plan_of(kDigits, ranks) + options + " --json " + shell_quoted(json));
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return result.output;
  };
  EXPECT_THAT(plan(""),
              AllOf(HasSubstr("read by     the root; if all ranks see the files, every rank in "
                              "turn, or on one host every rank for itself"),
                    HasSubstr("rank 0 besides  mapped files")));
  const auto sent = read_json(json);
  EXPECT_THAT(plan(" --read root"),
              HasSubstr("read by     the root, which sends it to the others\n"));
  auto of_root = read_json(json);
  EXPECT_EQ(of_root["forecasts"][0]["ranks"], sent["forecasts"][1]["ranks"]);
  of_root["forecasts"] = sent["forecasts"];
  EXPECT_EQ(of_root, sent);
  EXPECT_THAT(plan(" --device cuda"),
              HasSubstr("read by     the root; if all ranks see the files, every rank in turn\n"));
  EXPECT_THAT(plan("", 1), HasSubstr("read by     the one rank\n"));
  EXPECT_THAT(plan(" --read all"), AllOf(HasSubstr("read by     every rank"),
                                         HasSubstr("each rank besides  mapped files")));
  const auto read = read_json(json);
  EXPECT_THAT(plan(" --read turns"),
              AllOf(HasSubstr("read by     every rank in turn, each byte once\n"),
                    HasSubstr("each rank besides  mapped files")));
  EXPECT_EQ(read_json(json)["read"], "turns");
  EXPECT_EQ(read_json(json)["bytes"], sent["bytes"]);
  EXPECT_EQ(sent["read"], "root");
  EXPECT_EQ(read["read"], "all");
  EXPECT_EQ(read["bytes"], read["replayed_bytes"]);
  EXPECT_GT(sent["bytes"], read["bytes"]);
}

TEST(Plan, CutsLongLists) {
  const auto arguments = plan_of(kModels / "wan_bf16") + " --dtype float32";
  const auto cut = program(arguments);
  EXPECT_EQ(cut.exit_code, 0) << cut.output;
  EXPECT_THAT(cut.output, AllOf(HasSubstr("no forward"), HasSubstr("(BFloat16 to Float)"),
                                HasSubstr("and 70 more (--all)")));
  EXPECT_THAT(program(arguments + " --all").output,
              AllOf(HasSubstr("  proj_out.weight (BFloat16 to Float)\n"), Not(HasSubstr("more"))));
}

/// The digits without a key, with one too many, all of them under a prefix.
class PlanOfAnotherTeacher : public ::testing::Test {
 protected:
  void SetUp() override {
    auto tensors = read_tensors(kDigits);
    tensors.erase("proj_out_2.bias");
    tensors["ghost"] = torch::ones(1);
    std::vector<NamedTensor> wrapped;
    for (const auto& [name, tensor] : tensors) wrapped.push_back({"net." + name, tensor});
    save_safetensors(folder_ / "model.safetensors", wrapped);
    std::filesystem::copy(kDigits / "config.json", folder_ / "config.json");
  }

  TempFolder folder_;
};

TEST_F(PlanOfAnotherTeacher, AStrictFailureIsSaidAfterThePlan) {
  const auto json = folder_ / "plan.json";
  const auto arguments =
      plan_of(folder_.path()) + " --strip-prefix net. --json " + shell_quoted(json);
  const auto strict = program(arguments);
  EXPECT_EQ(strict.exit_code, 3) << strict.output;
  EXPECT_THAT(strict.output,
              AllOf(HasSubstr("in place    81"), HasSubstr("proj_out_2.bias (missing parameter)"),
                    HasSubstr("net.proj_out_1.bias to proj_out_1.bias"), HasSubstr("ghost"),
                    HasSubstr("teacher error"), HasSubstr("1 missing (proj_out_2.bias)")));
  EXPECT_THAT(read_json(json)["strict_failure"].get<std::string>(), HasSubstr("1 unexpected"));
  EXPECT_EQ(read_json(json)["renamed"].size(), 82U);
  const auto lenient = program(arguments + " --no-strict");
  EXPECT_EQ(lenient.exit_code, 0) << lenient.output;
  EXPECT_TRUE(read_json(json)["strict_failure"].is_null());
}

TEST_F(PlanOfAnotherTeacher, ItsExitCodesAreRuns) {
  const auto config = folder_ / "bad.json";
  std::ofstream(config) << R"({"_class_name": "DiTTransformer2DModel", "norm_type": "ada_norm_zero",
    "sample_size": 8, "num_attention_heads": 262144, "attention_head_dim": 262144})";
  const auto wrong = plan_of(folder_.path());
  for (const auto& [arguments, code, text] : std::vector<std::tuple<std::string, int, std::string>>{
           {"plan --teacher x", 2, "--ranks"},
           {plan_of(kDigits, 0), 2, "--ranks"},
           {"plan --ranks 2", 2, "--teacher"},
           {plan_of("/nonexistent"), 3, "/nonexistent"},
           {plan_of(kDigits) + " --json /proc/x", 2, "/proc/x"},
           {wrong + " --json " + shell_quoted(folder_ / "model.safetensors"), 2, "a file that"},
           {wrong + " --strip-prefix model.", 3, "\"net.pos_embed.\""},
           {wrong + " --strip-prefix net. --map 'a=b' --map 'x('", 2, "FROM=TO"},
           {wrong + " --map '(=b'", 2, "regular expression"},
           {wrong + " --map '.*=x'", 3, "gets the name \"x"},
           {wrong + " --strip-prefix ''", 2, "prefix"},
           {plan_of(kDigits) + " --dtype-rule norm", 2, "REGEX=DTYPE"},
           {plan_of(kDigits) + " --dtype-rule norm=int8", 2, "REGEX=DTYPE"},
           {plan_of(kDigits) + " --dtype-rule 'x(=float32'", 2, "regular expression"},
           {plan_of(kDigits) + " --dtype-rule nrom=float32", 2, "\"nrom\""},
           {plan_of(kDigits) + " --config " + shell_quoted(config), 6, "build error"}}) {
    const auto result = program(arguments);
    EXPECT_EQ(result.exit_code, code) << arguments << "\n" << result.output;
    EXPECT_THAT(result.output, HasSubstr(text)) << arguments;
  }
}

TEST_F(PlanOfAnotherTeacher, TheSubfolderHasTheConfiguration) {
  const auto subfolder = folder_ / "transformer";
  std::filesystem::create_directory(subfolder);
  std::ofstream(subfolder / "config.json") << R"({"_class_name": "DiTTransformer2DModel",
    "norm_type": "no such norm"})";
  for (const char* command : {"plan --ranks 2", "run"}) {
    const auto job =
        std::string(command) + " --subfolder transformer --teacher " + shell_quoted(folder_.path());
    const auto result = program(job);
    EXPECT_NE(result.exit_code, 0);
    EXPECT_THAT(result.output, AllOf(HasSubstr("norm_type"), HasSubstr("no such norm")));
    const auto json = program(job + " --json " + shell_quoted(subfolder / "config.json"));
    EXPECT_EQ(json.exit_code, 2);
    EXPECT_THAT(json.output, HasSubstr("a file that the job reads"));
  }
  const auto output =
      program("run --subfolder transformer --teacher " + shell_quoted(folder_.path()) +
              " --output " + shell_quoted(subfolder));
  EXPECT_EQ(output.exit_code, 2);
  EXPECT_THAT(output.output, HasSubstr("the teacher's own folder"));
}

TEST_F(PlanOfAnotherTeacher, RunAndInspectTakeTheSameOptions) {
  const auto names = shell_quoted(folder_.path()) +
                     " --strip-prefix net. --map '^ghost=proj_out_2.bias' --map 'proj_out_2=last'" +
                     " --map 'last\\.=proj_out_2.'";
  const auto inspected = program("inspect " + names);
  EXPECT_EQ(inspected.exit_code, 0) << inspected.output;
  EXPECT_THAT(inspected.output, AllOf(HasSubstr("  proj_out_2.bias\n"), Not(HasSubstr("  net."))));
  EXPECT_EQ(program("inspect " + shell_quoted(folder_.path()) + " --map 'x'").exit_code, 2);

  const auto output = folder_ / "out";
  const auto result = program("run --no-strict --dtype bfloat16 --dtype-rule '^proj_out=float32' " +
                              std::string("--dtype-rule proj_out_1=float64 --teacher ") +
                              shell_quoted(folder_.path()) + " --strip-prefix net. --output " +
                              shell_quoted(output));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  const auto want = read_tensors(kDigits);
  for (const auto& [name, tensor] : read_tensors(output)) {
    if (name == "proj_out_2.bias") continue;  // its own initialisation
    const auto dtype = name.starts_with("proj_out") ? at::kFloat : at::kBFloat16;
    EXPECT_TRUE(testing::bit_equal(tensor, want.at(name).to(dtype))) << name;
  }
}

}  // namespace
}  // namespace fakescore
