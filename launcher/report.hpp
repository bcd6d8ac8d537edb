#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "fakescore/module/create_fake_score_meta.hpp"

namespace fakescore::launcher {

/// What the report says beside the library's own.
struct RunDescription {
  std::string teacher;
  std::string class_name;
  bool has_forward = true;
  std::string launcher = {};                   ///< of a run: what the ranks were found from
  std::vector<std::string> launch_notes = {};  ///< as LaunchEnv::notes
};

/// Prints the report as a table on standard output.
void print_report(const MetaReport& report, const RunDescription& run);

/// Writes the report as JSON. Throws ConfigError naming the file.
void write_report(const std::filesystem::path& path, const MetaReport& report,
                  const RunDescription& run);

}  // namespace fakescore::launcher
