#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "support/load_teacher.hpp"
#include "support/shell.hpp"
#include "support/tensor_checks.hpp"

namespace fakescore::testing {

inline const std::filesystem::path kDigits =
    std::filesystem::path(FAKESCORE_SOURCE_DIR) / "examples/digits";
inline const std::filesystem::path kModels = std::filesystem::path(FAKESCORE_TEST_DATA) / "models";

/// The fakescore program and its arguments, as part of a shell command.
inline std::string program_command(const std::string& arguments) {
  return shell_quoted(FAKESCORE_PROGRAM) + " " + arguments;
}

inline ShellResult program(const std::string& arguments) {
  return run_shell(program_command(arguments));
}

/// "run --teacher PATH"
inline std::string run_of(const std::filesystem::path& teacher) {
  return "run --teacher " + shell_quoted(teacher);
}

inline void expect_same_tensors(const std::filesystem::path& a, const std::filesystem::path& b) {
  const auto want = read_tensors(a);
  const auto got = read_tensors(b);
  ASSERT_EQ(want.size(), got.size());
  for (const auto& [name, tensor] : want) EXPECT_TRUE(bit_equal(tensor, got.at(name))) << name;
}

#ifdef FAKESCORE_TEST_MPIEXEC
/// "mpirun ... -n RANKS ", to be followed by a command.
inline std::string mpirun(int ranks) {
  return shell_quoted(FAKESCORE_TEST_MPIEXEC) + " --oversubscribe -n " + std::to_string(ranks) +
         " ";
}
#endif

#ifdef FAKESCORE_TEST_TORCHRUN
/// "torchrun ... ", to be followed by a command.
inline std::string torchrun(int ranks) {
  return shell_quoted(FAKESCORE_TEST_TORCHRUN) + " --standalone --no-python --nproc-per-node " +
         std::to_string(ranks) + " ";
}
#endif

}  // namespace fakescore::testing
