#pragma once

#include <string>

namespace fakescore::testing {

struct ShellResult {
  int exit_code = -1;  ///< 128 + signal where the shell says so
  std::string output;  ///< standard output and standard error
};

/// `text` as one word of a shell command, whatever it holds.
std::string shell_quoted(const std::string& text);

/// Runs a shell command to its end; `timeout(1)` ends it after 100 s.
ShellResult run_shell(const std::string& command);

}  // namespace fakescore::testing
