// How progress looks on a terminal and elsewhere.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <array>
#include <functional>

#include "launcher/program.hpp"
#include "launcher/progress_display.hpp"

namespace fakescore {
namespace {

using launcher::ProgressDisplay;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using testing::kDigits;
using ::testing::Not;
using testing::program;
using testing::program_command;
using testing::run_of;
using testing::run_shell;
using testing::shell_quoted;

/// What `body` writes to standard error when that is a terminal, whose buffer it must fit into.
std::string on_a_terminal(const std::function<void()>& body) {
  const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY);
  EXPECT_EQ(::grantpt(terminal), 0);
  EXPECT_EQ(::unlockpt(terminal), 0);
  const int inside = ::open(::ptsname(terminal), O_RDWR | O_NOCTTY);
  const int before = ::dup(STDERR_FILENO);
  ::dup2(inside, STDERR_FILENO);
  ::setenv("TERM", "xterm", 1);
  body();
  std::fflush(stderr);
  ::dup2(before, STDERR_FILENO);
  ::close(before);
  ::close(inside);
  // With nobody left who may write, reading ends in an error.
  std::string text;
  std::array<char, 4096> buffer{};
  for (ssize_t count = 0; (count = ::read(terminal, buffer.data(), buffer.size())) > 0;) {
    text.append(buffer.data(), static_cast<size_t>(count));
  }
  ::close(terminal);
  return text;
}

TEST(ProgressDisplay, ABarIsRedrawnInItsLine) {
  const auto text = on_a_terminal([] {
    ProgressDisplay display;
    display.show({"move", 999'999'999, 2'000'000'000});
    display.show({"move", 2'000'000'000, 2'000'000'000});
  });
  EXPECT_THAT(text, HasSubstr("\rmove"));
  EXPECT_THAT(text, HasSubstr("1000.0 MB of 2.0 GB\033[K\r"));
  EXPECT_THAT(text, EndsWith("100 %  2.0 GB of 2.0 GB\033[K\r\n"));
}

TEST(ProgressDisplay, ABarThatStopsHalfWayIsEnded) {
  const auto text = on_a_terminal([] {
    {
      ProgressDisplay display;
      display.show({"move", 1, 2});
      display.show({"replay", 1, 2});
    }
    std::fputs("error", stderr);
  });
  EXPECT_THAT(text, HasSubstr("\033[K\r\n\rreplay"));
  EXPECT_THAT(text, EndsWith("\033[K\r\nerror"));
}

TEST(ProgressOfTheProgram, IsABarOnATerminal) {
  const auto result = run_shell("env TERM=xterm script -qec " +
                                shell_quoted(program_command(run_of(kDigits))) + " /dev/null");
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("[========================================] 100 %"));
}

TEST(ProgressOfTheProgram, IsPlainLinesElsewhere) {
  const auto piped = program(run_of(kDigits));
  EXPECT_EQ(piped.exit_code, 0) << piped.output;
  EXPECT_THAT(piped.output, HasSubstr("(100 %)\n"));
  EXPECT_THAT(piped.output, Not(HasSubstr("\r")));
  EXPECT_THAT(program(run_of(kDigits) + " --quiet").output, "");
}

TEST(ErrorsOfTheProgram, AreColoredOnATerminalUnlessAskedNotTo) {
  const auto on_script = [](const std::string& variables) {
    return run_shell("env " + variables + " TERM=xterm script -qec " +
                     shell_quoted(program_command(run_of("/nonexistent"))) + " /dev/null");
  };
  const auto colored = on_script("-u NO_COLOR");
  EXPECT_EQ(colored.exit_code, 3);
  EXPECT_THAT(colored.output, HasSubstr("\033["));
  EXPECT_THAT(on_script("NO_COLOR=1").output, Not(HasSubstr("\033[")));
}

}  // namespace
}  // namespace fakescore
