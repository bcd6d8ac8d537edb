#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "fakescore/fill/forecast.hpp"
#include "fakescore/fill/measure.hpp"
#include "fakescore/module/create_fake_score_meta.hpp"
#include "fakescore/teacher/teacher_source.hpp"

namespace fakescore::launcher {

/// Which checkpoint, and under which names its tensors are looked for.
struct TeacherOptions {
  std::filesystem::path path;
  TeacherPathOptions which;
  std::optional<std::string> prefix;  ///< to strip
  std::vector<std::string> key_rules;

  /// Throws ConfigError for an empty prefix or a malformed rule.
  TeacherSource source() const;
  /// The file or folder that holds the weights.
  std::filesystem::path weights() const;
};

/// What a job makes of a teacher: for `run`, which does it, and `plan`, which says it.
struct JobOptions {
  TeacherOptions teacher;
  std::filesystem::path config;  ///< empty: config.json beside the weights, if there is one
  std::string dtype;             ///< empty: as the module is built
  std::vector<std::string> dtype_rules;
  std::string device = "cpu";
  std::optional<size_t> bucket_bytes;
  size_t pinned_bytes = kDefaultPinnedBytes;
  bool strict = true;
  std::string read = "auto";
  std::filesystem::path json;

  /// All but the device, which a job has from its communicator.
  MetaOptions meta_options() const;
};

/// How a rank finds the others, and how long it waits for them.
struct LaunchOptions {
  double timeout_seconds = 300;
  std::optional<std::string> launcher;  ///< whose variables count; nullopt: every launcher's
};

struct RunOptions : JobOptions, LaunchOptions {
  bool verify = true;
  std::filesystem::path output;
  bool quiet = false;
};

struct PlanOptions : JobOptions {
  JobShape shape;
  std::filesystem::path figures;  ///< empty: no time is predicted
  bool all = false;               ///< print every key
};

struct MeasureCommandOptions : LaunchOptions {
  MeasureOptions what;
  std::string device = "cpu";
  std::filesystem::path json;
};

/// Adds the subcommands; their options are filled in when the command line is parsed.
CLI::App* add_run_command(CLI::App& app, RunOptions& options);
CLI::App* add_plan_command(CLI::App& app, PlanOptions& options);
CLI::App* add_measure_command(CLI::App& app, MeasureCommandOptions& options);
CLI::App* add_inspect_command(CLI::App& app, TeacherOptions& options);

}  // namespace fakescore::launcher
