// What `fakescore plan` says of bytes and seconds, and `fakescore measure`, whose figures it takes.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "launcher/program.hpp"
#include "support/temp_folder.hpp"

namespace fakescore {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::kDigits;
using ::testing::Not;
using testing::program;
using testing::shell_quoted;
using testing::TempFolder;

nlohmann::json json_of(const std::filesystem::path& path) {
  return nlohmann::json::parse(std::ifstream(path));
}

std::string plan_digits(const std::string& shape) {
  return "plan --teacher " + shell_quoted(kDigits) + " " + shape;
}

/// Enough of a file to measure with.
std::filesystem::path two_mebibytes(const TempFolder& folder) {
  const auto path = folder / "file";
  std::ofstream(path) << std::string(2 << 20, 'x');
  return path;
}

std::string measure_quickly(const std::filesystem::path& file) {
  return "measure " + shell_quoted(file) + " --bytes 2097152 --rounds 1";
}

/// Of each rank, from a plan's kinds.
std::vector<uint64_t> by_rank(const nlohmann::json& kinds, const char* key) {
  std::vector<uint64_t> values;
  for (const auto& kind : kinds) {
    EXPECT_EQ(kind.at("first"), values.size());
    values.resize(kind.at("last").get<size_t>() + 1, kind.at(key));
  }
  return values;
}

TEST(ForecastOfAPlan, SaysWhoReadsAndSendsHowMuch) {
  const TempFolder folder;
  const auto json = folder / "plan.json";
  const auto result = program(plan_digits("--hosts 2 --ranks-per-host 3 --ranks-per-copy 3") +
                              " --json " + shell_quoted(json));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("ranks       6 (cpu)"),
                    HasSubstr("traffic     read by turns: all ranks see the files, and ranks of "
                              "several hosts keep the same parts"),
                    HasSubstr("traffic     read by root: not every rank sees the files"),
                    HasSubstr("host 0"), Not(HasSubstr("bottleneck"))));
  const auto plan = json_of(json);
  ASSERT_EQ(plan["forecasts"].size(), 2U);
  for (const auto& forecast : plan["forecasts"]) {
    EXPECT_EQ(by_rank(forecast["ranks"], "read").size(), 6U);
    EXPECT_EQ(by_rank(forecast["hosts"], "read").size(), 2U);
    EXPECT_TRUE(forecast["from_page_cache"].is_null());
  }
}

TEST(ForecastOfAPlan, CutsManyKindsOfRanks) {
  const auto result = program(plan_digits("--hosts 50 --ranks-per-host 8"));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr(" more kinds\n"));
  EXPECT_LT(std::count(result.output.begin(), result.output.end(), '\n'), 60);
}

TEST(ForecastOfAPlan, WhatCannotBeIsRefused) {
  const TempFolder folder;
  const auto figures = folder / "figures.json";
  std::ofstream(figures) << R"({"backend": "mpi", "copy": {"rank": 1e9, "host": 1e9},
    "first_write": {"rank": 1e9, "host": 1e9}, "message": {"rank": 1e9, "host": 1e9},
    "control_seconds": 1e-5})";
  const auto wrong = folder / "wrong.json";
  std::ofstream(wrong) << R"({"lnik": 1e9})";
  const std::string with = " --figures " + shell_quoted(figures);
  EXPECT_EQ(program(plan_digits("--ranks 4") + with).exit_code, 0);
  for (const auto& [shape, text] : std::vector<std::pair<std::string, std::string>>{
           {"", "--ranks, or --hosts and --ranks-per-host"},
           {"--hosts 2", "--ranks-per-host"},
           {"--ranks-per-host 2", "--hosts"},
           {"--ranks 4 --hosts 2 --ranks-per-host 2", "excludes"},
           {"--hosts 1000000 --ranks-per-host 1000000", "not planned for"},
           {"--ranks 4 --ranks-per-copy 3", "do not divide 4 ranks"},
           {"--hosts 2 --ranks-per-host 2" + with, "figure link"},
           {"--ranks 2 --figures " + shell_quoted(wrong), "unknown figure \"lnik\""},
           {"--ranks 2 --figures /nonexistent", "/nonexistent"}}) {
    const auto result = program(plan_digits(shape));
    EXPECT_EQ(result.exit_code, 2) << shape << "\n" << result.output;
    EXPECT_THAT(result.output, HasSubstr(text)) << shape;
  }
}

TEST(Measure, OneRankMeasuresItsHost) {
  const TempFolder folder;
  const auto json = folder / "figures.json";
  const auto result =
      program(measure_quickly(two_mebibytes(folder)) + " --json " + shell_quoted(json));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("hosts       1, 1 ranks each"), HasSubstr("link        not known")));
  const auto figures = json_of(json);
  EXPECT_GT(figures["copy"]["rank"].get<double>(), 0);
  EXPECT_GT(figures["first_write"]["host"].get<double>(), 0);
  EXPECT_FALSE(figures.contains("message"));
  const auto planned = program(plan_digits("--ranks 1 --figures ") + shell_quoted(json));
  EXPECT_EQ(planned.exit_code, 0) << planned.output;
  EXPECT_THAT(planned.output, HasSubstr("bottleneck: memory of a"));
}

TEST(Measure, BadUsageIsRefused) {
  const TempFolder folder;
  const auto file = two_mebibytes(folder);
  std::ofstream(folder / "short") << "x";
  for (const auto& [arguments, code, text] : std::vector<std::tuple<std::string, int, std::string>>{
           {"measure", 2, "file"},
           {"measure /nonexistent", 3, "/nonexistent"},
           {measure_quickly(folder / "short"), 2, "too short"},
           {measure_quickly(file) + " --bytes 5", 2, "--bytes"},
           {measure_quickly(file) + " --rounds 0", 2, "--rounds"},
           {measure_quickly(file) + " --json " + shell_quoted(file), 2, "a file that"},
           {measure_quickly(file) + " --json /proc/x", 2, "/proc/x"}}) {
    const auto result = program(arguments);
    EXPECT_EQ(result.exit_code, code) << arguments << "\n" << result.output;
    EXPECT_THAT(result.output, HasSubstr(text)) << arguments;
  }
}

#ifdef FAKESCORE_TEST_MPIEXEC
TEST(ForecastOfAPlan, IsWhatAJobReadsAndSends) {
  const TempFolder folder;
  const auto plan = folder / "plan.json";
  const auto report = folder / "report.json";
  for (const std::string read : {"all", "turns", "root"}) {
    const auto planned =
        program(plan_digits("--ranks 3 --read ") + read + " --json " + shell_quoted(plan));
    ASSERT_EQ(planned.exit_code, 0) << planned.output;
    const auto ran =
        testing::run_shell(testing::mpirun(3) + testing::program_command(testing::run_of(kDigits)) +
                           " --quiet --read " + read + " --json " + shell_quoted(report));
    ASSERT_EQ(ran.exit_code, 0) << ran.output;
    const auto want = json_of(report);
    const auto forecast = json_of(plan)["forecasts"][0];
    EXPECT_EQ(forecast["read"], want["read"]);
    for (const std::string what : {"read", "sent", "received"}) {
      EXPECT_EQ(by_rank(forecast["ranks"], what.c_str()),
                want[what + "_bytes"].get<std::vector<uint64_t>>())
          << what << ", read by " << read;
    }
  }
}

TEST(Measure, RanksOfAJobMeasureWhatPlanTakes) {
  const TempFolder folder;
  const auto json = folder / "figures.json";
  const auto result = testing::run_shell(
      testing::mpirun(3) + testing::program_command(measure_quickly(two_mebibytes(folder))) +
      " --json " + shell_quoted(json));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  const auto figures = json_of(json);
  EXPECT_EQ(figures["backend"], "mpi");
  EXPECT_EQ(figures["measured"]["ranks_per_host"], 3);
  for (const char* figure : {"copy", "first_write", "message"}) {
    EXPECT_GT(figures[figure]["host"].get<double>(), 0) << figure;
  }
  EXPECT_GT(figures["control_seconds"].get<double>(), 0);
  for (const std::string read : {"all", "turns", "root"}) {
    const auto planned =
        program(plan_digits("--ranks 3 --read ") + read + " --figures " + shell_quoted(json));
    EXPECT_EQ(planned.exit_code, 0) << planned.output;
    EXPECT_THAT(planned.output, HasSubstr("from page caches")) << read;
  }
}

TEST(Measure, ARankWithoutTheFileIsAnErrorOfAll) {
  const TempFolder folder;
  const auto result = testing::run_shell(
      testing::mpirun(1) + testing::program_command(measure_quickly(two_mebibytes(folder))) +
      " : -n 1 " + testing::program_command(measure_quickly("/nonexistent")));
  EXPECT_NE(result.exit_code, 0);
  EXPECT_THAT(result.output, AllOf(HasSubstr("rank 1"), HasSubstr("/nonexistent")));
}
#endif

}  // namespace
}  // namespace fakescore
