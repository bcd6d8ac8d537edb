// What control messages cost over a store, by the formulas of docs/control.md: nothing here depends
// on speed, or on how often a rank asks while it waits.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "support/shell.hpp"

namespace fakescore {
namespace {

using nlohmann::json;
using testing::run_shell;
using testing::shell_quoted;

json measure(int ranks) {
  // Of two repeats the second counts: only the first meeting of all has none before it to clean up.
  const auto result = run_shell(shell_quoted(FAKESCORE_CONTROL_BENCHMARK) +
                                " --repeats 2 --ranks " + std::to_string(ranks) + " 2>/dev/null");
  EXPECT_EQ(result.exit_code, 0) << result.output;
  return json::parse(result.output)["steps"];
}

TEST(ControlBenchmark, CountsAsManyMessagesAsTheFormulasSay) {
  for (const int ranks : {2, 5, 24}) {
    SCOPED_TRACE(ranks);
    const json steps = measure(ranks);
    for (const char* call : {"agree", "gather"}) {
      EXPECT_NEAR(steps[call]["all"]["writes"].get<double>(), 2 * ranks + 4, 0.01) << call;
      EXPECT_NEAR(steps[call]["all"]["reads"].get<double>(), ranks + 1, 0.01) << call;
    }
    const json job = steps["job"]["all"];
    EXPECT_EQ(job["writes"].get<int>(), 36 * ranks + 79);
    // The root of a message reads nothing, unless it is the last to come.
    constexpr int kMessages = 2;
    EXPECT_LE(job["reads"].get<int>(), 19 * ranks + 17);
    EXPECT_GE(job["reads"].get<int>(), 19 * ranks + 17 - kMessages);
  }
}

}  // namespace
}  // namespace fakescore
