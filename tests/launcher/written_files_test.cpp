// What the program writes appears whole or not at all, whatever bytes names and paths have; and
// what it prints cannot act on a terminal.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "fakescore/teacher/save_safetensors.hpp"
#include "launcher/program.hpp"
#include "support/temp_folder.hpp"

namespace fakescore {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::kDigits;
using ::testing::Not;
using testing::program;
using testing::program_command;
using testing::run_of;
using testing::run_shell;
using testing::shell_quoted;
using testing::TempFolder;

const std::string kLatin1 = "caf\xe9";
const std::string kHostile("w\x1b[31mRED\n  line\xc2\x9b\0end", 22);

std::string written_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

size_t files_in(const std::filesystem::path& folder) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}

std::string bytes_of_hex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

/// The texts of a report whose bytes are kept beside it, by their place.
std::map<std::string, std::string> exact_bytes(const nlohmann::json& report) {
  std::map<std::string, std::string> found;
  for (const auto& text : report.at("exact_bytes")) {
    found[text.at("at")] = bytes_of_hex(text.at("hex"));
  }
  return found;
}

/// A teacher in a folder of any name, whose one tensor has any name.
std::filesystem::path make_named_teacher(const TempFolder& folder, const std::string& name,
                                         const std::string& tensor) {
  const auto teacher = folder / name;
  std::filesystem::create_directory(teacher);
  save_safetensors(teacher / "model.safetensors", {{tensor, torch::ones(2)}});
  return teacher;
}

TEST(WrittenFiles, AReportOfAPathThatIsNoUtf8KeepsItsBytes) {
  const TempFolder folder;
  const auto teacher = make_named_teacher(folder, kLatin1, "w");
  const auto json = folder / "r.json";
  std::ofstream(json) << "old";
  for (const std::string command : {"plan --ranks 2 ", "run "}) {
    const auto result =
        program(command + "--teacher " + shell_quoted(teacher) + " --json " + shell_quoted(json));
    EXPECT_EQ(result.exit_code, 0) << result.output;
    EXPECT_THAT(result.output, AllOf(HasSubstr("caf\\xe9"), Not(HasSubstr(kLatin1))));
    const auto report = nlohmann::json::parse(written_text(json));
    EXPECT_EQ(report.at("teacher"), (folder / "caf\ufffd").string());
    EXPECT_EQ(exact_bytes(report),
              (std::map<std::string, std::string>{{"/file", teacher / "model.safetensors"},
                                                  {"/teacher", teacher}}));
  }
}

TEST(WrittenFiles, ANameThatIsNoUtf8KeepsItsBytesInsideLists) {
  const TempFolder folder;
  const auto teacher = make_named_teacher(folder, "plain", "w");
  const auto json = folder / "r.json";
  const auto plan = "plan --ranks 2 --teacher " + shell_quoted(teacher) + " --json " +
                    shell_quoted(json) + " --map ";
  ASSERT_EQ(program(plan + shell_quoted("w=" + kLatin1)).exit_code, 0);
  const auto report = nlohmann::json::parse(written_text(json));
  EXPECT_EQ(report.at("in_place").at(0), "caf\ufffd");
  EXPECT_EQ(exact_bytes(report), (std::map<std::string, std::string>{
                                     {"/in_place/0", kLatin1}, {"/renamed/0/name", kLatin1}}));
  ASSERT_EQ(program(plan + shell_quoted("w=caf\u00e9")).exit_code, 0);
  EXPECT_FALSE(nlohmann::json::parse(written_text(json)).contains("exact_bytes"));
}

TEST(WrittenFiles, WhatSafetensorsCannotHoldIsFoundBeforeTheJob) {
  const TempFolder folder;
  const auto teacher = make_named_teacher(folder, "plain", "w");
  const auto result = program(run_of(teacher) + " --map " + shell_quoted("w=" + kLatin1) +
                              " --output " + shell_quoted(folder / "o"));
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.output, AllOf(HasSubstr("configuration error"), HasSubstr("caf\\xe9"),
                                   HasSubstr("--map"), Not(HasSubstr("digest"))));
  EXPECT_EQ(files_in(folder / "o"), 0U);
}

TEST(WrittenFiles, AFullDiskLeavesWhatWasThere) {
  const TempFolder folder;
  const auto output = folder / "o";
  const auto json = folder / "r.json";
  std::filesystem::create_directory(output);
  for (const auto& path :
       {json, output / "config.json", output / "diffusion_pytorch_model.safetensors"}) {
    std::ofstream(path) << "old";
  }
  const auto on_full_disk = [](const std::string& kilobytes, const std::string& arguments) {
    return run_shell("sh -c " + shell_quoted("trap '' XFSZ; ulimit -f " + kilobytes + "; exec " +
                                             program_command(run_of(kDigits) + arguments)));
  };
  // The configuration has the space, the weights have not.
  const auto weights = on_full_disk("64", " --output " + shell_quoted(output));
  EXPECT_EQ(weights.exit_code, 2) << weights.output;
  EXPECT_THAT(weights.output, AllOf(HasSubstr("digest"), HasSubstr("cannot be written: File too "
                                                                   "large")));
  const auto report = on_full_disk("0", " --json " + shell_quoted(json));
  EXPECT_EQ(report.exit_code, 2) << report.output;
  EXPECT_THAT(report.output, HasSubstr("cannot be written: File too large"));
  for (const auto& path :
       {json, output / "config.json", output / "diffusion_pytorch_model.safetensors"}) {
    EXPECT_EQ(written_text(path), "old") << path;
  }
  EXPECT_EQ(files_in(output), 2U);
  EXPECT_EQ(files_in(folder.path()), 2U);
}

TEST(WrittenFiles, TheReportIsNoFileOfTheOutput) {
  const TempFolder folder;
  for (const char* name : {"config.json", "diffusion_pytorch_model.safetensors"}) {
    const auto result = program(run_of(kDigits) + " --output " + shell_quoted(folder / "o") +
                                " --json " + shell_quoted(folder / "." / "o" / name));
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_THAT(result.output, HasSubstr("a file that --output writes"));
  }
}

TEST(HostileNames, DoNotReachATerminal) {
  const TempFolder folder;
  const auto teacher = make_named_teacher(folder, "plain", kHostile);
  for (const std::string command :
       {"inspect ", "plan --ranks 2 --all --teacher ", "run --no-strict --config CONFIG --teacher ",
        "run --config CONFIG --teacher "}) {
    auto arguments = command + shell_quoted(teacher);
    if (const auto at = arguments.find("CONFIG"); at != std::string::npos) {
      arguments.replace(at, 6, shell_quoted(kDigits / "config.json"));
    }
    const auto result = program(arguments);
    EXPECT_THAT(result.output, HasSubstr("w\\x1b[31mRED\\x0a  line\\u009b\\x00end")) << command;
    EXPECT_THAT(result.output, AllOf(Not(HasSubstr("\x1b")), Not(HasSubstr("\xc2\x9b"))));
    EXPECT_EQ(result.output.find('\0'), std::string::npos);
  }
}

TEST(HostileNames, DoNotCutAnError) {
  const TempFolder folder;
  const auto file = folder / "nul.safetensors";
  const std::string header =
      R"({"a\u0000b": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}})";
  const uint64_t length = header.size();
  std::ofstream(file, std::ios::binary).write(reinterpret_cast<const char*>(&length), sizeof length)
      << header << "four";
  const auto result = program("inspect " + shell_quoted(file));
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.output, AllOf(HasSubstr("tensor a\\x00b"), HasSubstr("needs 8 bytes")));
}

TEST(HostileNames, OfArgumentsAreEscapedToo) {
  for (const auto& arguments : {"run --teacher x " + shell_quoted("--\x1b[31mfly"),
                                "inspect " + shell_quoted("/\x1b[31mno"),
                                "run --teacher x --map " + shell_quoted("\x1b[31m(")}) {
    const auto result = program(arguments);
    EXPECT_NE(result.exit_code, 0);
    EXPECT_THAT(result.output, AllOf(HasSubstr("\\x1b[31m"), Not(HasSubstr("\x1b"))));
  }
}

#ifdef FAKESCORE_TEST_MPIEXEC
TEST(HostileNames, OfAnotherRankAreWrittenAndEscaped) {
  const TempFolder folder;
  const auto teacher = make_named_teacher(folder, kLatin1, kHostile);
  const auto json = folder / "r.json";
  const auto run = testing::mpirun(2) + program_command(run_of(teacher));
  const auto good = run_shell(run + " --json " + shell_quoted(json));
  EXPECT_EQ(good.exit_code, 0) << good.output;
  EXPECT_EQ(exact_bytes(nlohmann::json::parse(written_text(json))).at("/teacher"), teacher);
  // The last rank finds what is wrong, the first one says it.
  const auto file = folder / "file\x1b[31m";
  std::ofstream(file) << "not a folder";
  const auto bad = run_shell(run + " --output " + shell_quoted(file));
  EXPECT_EQ(bad.exit_code, 2) << bad.output;
  EXPECT_THAT(bad.output,
              AllOf(HasSubstr("on rank 1"), HasSubstr("file\\x1b[31m"), Not(HasSubstr("\x1b"))));
}
#endif

}  // namespace
}  // namespace fakescore
