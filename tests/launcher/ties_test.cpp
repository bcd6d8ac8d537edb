// What is tied in a module is tied in what --output writes, and inspect says so.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fakescore/teacher/teacher_source.hpp"
#include "launcher/output.hpp"
#include "launcher/program.hpp"
#include "support/temp_folder.hpp"
#include "support/tiny_models.hpp"

namespace fakescore {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::program;
using testing::shell_quoted;

TEST(Ties, AreWrittenOnceAndShownByInspect) {
  const testing::TempFolder folder;
  const testing::AwkwardModule module;
  launcher::write_output(folder.path(), module, "");
  const auto metadata = TeacherSource::path(folder.path()).open()->metadata();
  EXPECT_EQ(metadata.at("tied"), "weight");
  EXPECT_EQ(testing::read_tensors(folder.path()).count("tied"), 0U);
  const auto shown = program("inspect " + shell_quoted(folder.path()));
  EXPECT_EQ(shown.exit_code, 0);
  EXPECT_THAT(shown.output, ContainsRegex("\\[33, 17\\] +- +tied  \\(tied to weight\\)"));
  EXPECT_THAT(shown.output, Not(HasSubstr("tied to pt")));
}

TEST(Ties, ShardsKeepTheirMetadata) {
  EXPECT_EQ(TeacherSource::path(testing::kModels / "wan_sharded").open()->metadata().at("format"),
            "pt");
}

}  // namespace
}  // namespace fakescore
