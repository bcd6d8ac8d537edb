#pragma once

#include <c10/core/ScalarType.h>

#include <CLI/CLI.hpp>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>

#include "fakescore/factory/fake_score_meta.hpp"

namespace fakescore::launcher {

struct RunOptions {
  std::filesystem::path teacher;
  std::filesystem::path config;  ///< empty: config.json beside the teacher, if there is one
  std::string dtype;             ///< empty: as the module is built
  std::string device = "cpu";
  std::string read = "auto";
  std::optional<size_t> bucket_bytes;
  size_t pinned_bytes = kDefaultPinnedBytes;
  double timeout_seconds = 300;
  bool strict = true;
  bool verify = true;
  std::filesystem::path output;
  std::filesystem::path json;
  bool quiet = false;

  std::optional<at::ScalarType> scalar_type() const;
  TeacherRead teacher_read() const;
};

struct InspectOptions {
  std::filesystem::path path;
};

/// Adds the subcommands; their options are filled in when the command line is parsed.
CLI::App* add_run_command(CLI::App& app, RunOptions& options);
CLI::App* add_inspect_command(CLI::App& app, InspectOptions& options);

}  // namespace fakescore::launcher
