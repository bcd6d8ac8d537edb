// The examples print what their READMEs say, digests included, and leave with success.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "launcher/program.hpp"
#include "support/temp_folder.hpp"

namespace fakescore {
namespace {

using ::testing::HasSubstr;
using testing::kDigits;
using testing::run_shell;
using testing::shell_quoted;

const std::filesystem::path kPrograms = FAKESCORE_EXAMPLE_PROGRAMS;

/// An example and its arguments, as part of a shell command.
std::string example(const std::string& name, const std::string& arguments = "") {
  return shell_quoted(kPrograms / name) + " " + shell_quoted(kDigits) + " " + arguments;
}

/// The indented lines of an example's README that hold `word`, as a program prints them.
std::string documented(const std::string& name, const std::string& word) {
  std::ifstream readme(kDigits.parent_path() / name / "README.md");
  std::string text;
  for (std::string line; std::getline(readme, line);) {
    if (line.starts_with("    ") && line.find(word) != std::string::npos) {
      text += line.substr(4) + "\n";
    }
  }
  EXPECT_NE(text, "") << name << "'s README has no line with " << word;
  return text;
}

TEST(Example, SingleProcess) {
  const auto result = run_shell(example("single_process"));
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.output, documented("single_process", "from the file: ") +
                               documented("single_process", "deep copy: "));
}

TEST(Example, OwnModel) {
  const testing::TempFolder folder;
  const auto result =
      run_shell(shell_quoted(kPrograms / "own_model") + " " + shell_quoted(folder / "new/teacher"));
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.output, documented("own_model", " sum ") + documented("own_model", "replayed:") +
                               documented("own_model", "forward:"));
}

#ifdef FAKESCORE_TEST_MPIEXEC
TEST(Example, ManyRanksUnderMpirun) {
  const auto result = run_shell(testing::mpirun(4) + example("many_ranks"));
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.output, documented("many_ranks", "ranks over mpi"));
}

TEST(Example, Training) {
  const auto result = run_shell(testing::mpirun(2) + example("training"));
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr(documented("training", "loss fell")));
  EXPECT_THAT(result.output, ::testing::ContainsRegex("loss [0-9.]+ -> [0-9.]+ in 20 steps on 2"));
}

TEST(Example, DigitsDemoDrawsOnTheLastRank) {
  const testing::TempFolder folder;
  const auto picture = folder / "digits.png";
  const auto result = run_shell(testing::mpirun(4) + example("digits_demo", shell_quoted(picture)));
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("the same on every rank"));
  EXPECT_THAT(result.output, HasSubstr("rank 3 sampled 80 digits"));
  std::ifstream file(picture, std::ios::binary);
  std::string signature(8, '\0');
  file.read(signature.data(), static_cast<std::streamsize>(signature.size()));
  EXPECT_EQ(signature, "\x89PNG\r\n\x1a\n");
}
#endif

#ifdef FAKESCORE_TEST_TORCHRUN
TEST(Example, ManyRanksUnderTorchrun) {
  const auto result = run_shell(testing::torchrun(2) + example("many_ranks"));
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.output, HasSubstr(documented("many_ranks", "ranks over store")));
}
#endif

}  // namespace
}  // namespace fakescore
