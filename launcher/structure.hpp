#pragma once

#include <filesystem>
#include <string>

#include "fakescore/comm/communicator.hpp"
#include "fakescore/module/create_fake_score.hpp"
#include "options.hpp"
#include "report.hpp"

namespace fakescore::launcher {

inline constexpr int kRoot = 0;

/// The module that a job fills.
struct Structure {
  ModuleBuilder build;
  std::string config;  ///< text of the configuration; empty where there is none
  RunDescription description;
};

/// The configuration file to read: the one given, or config.json beside the weights, or none.
std::filesystem::path find_config(const JobOptions& options);

/// The registered class of the configuration, else a module of the checkpoint's own names.
/// Collective; the root alone reads files. Throws Error, the same on every rank.
Structure choose_structure(const JobOptions& options, const TeacherSource& teacher,
                           Communicator& communicator);

}  // namespace fakescore::launcher
