#include "run_command.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <memory>

#include "destinations.hpp"
#include "fakescore/fakescore.hpp"
#include "log.hpp"
#include "output.hpp"
#include "progress_display.hpp"
#include "report.hpp"
#include "structure.hpp"

namespace fakescore::launcher {
namespace {

/// The last rank: the one that shows what arrived where the root alone opened files.
bool writes_output(const Communicator& communicator) {
  return communicator.rank() == communicator.world_size() - 1;
}

/// A destination that cannot be written is found before the job, which may take long.
void check_destinations(const RunOptions& options, Communicator& communicator) {
  run_agreed(communicator, "output", ErrorCode::kConfig, [&] {
    if (!options.output.empty() && writes_output(communicator)) {
      prepare_output(options.output, options.teacher.weights());
    }
    if (!options.json.empty() && communicator.rank() == kRoot) {
      check_report_file(options.json, options.teacher.weights(), find_config(options),
                        options.output);
    }
  });
}

/// A builder whose module can be written: what cannot is found while nothing is read yet.
ModuleBuilder checked_for_output(const ModuleBuilder& build) {
  return [build] {
    auto module = build();
    check_can_be_output(*module);
    return module;
  };
}

MetaOptions make_meta_options(const RunOptions& options, const Communicator& communicator) {
  MetaOptions meta = options.meta_options();
  meta.root = kRoot;
  meta.verify = options.verify;
  if (communicator.rank() == kRoot && !options.quiet) {
    meta.progress = [display = std::make_shared<ProgressDisplay>()](const Progress& progress) {
      display->show(progress);
    };
  }
  return meta;
}

}  // namespace

void run(const RunOptions& options, const LaunchEnv& env, Communicator& communicator) {
  const bool is_root = communicator.rank() == kRoot;
  if (is_root && !options.quiet) {
    for (const std::string& note : env.notes) log_info(note);
  }
  check_destinations(options, communicator);
  const auto teacher = options.teacher.source();
  Structure structure = choose_structure(options, teacher, communicator);
  if (!options.output.empty()) {
    run_agreed(communicator, "output", ErrorCode::kConfig, [&] {
      if (writes_output(communicator)) check_output_config(options.output, structure.config);
    });
    structure.build = checked_for_output(structure.build);
  }
  structure.description.launcher = to_string(env.launcher);
  structure.description.launch_notes = env.notes;
  const MetaResult result = create_fake_score_meta(structure.build, teacher, communicator,
                                                   make_meta_options(options, communicator));
  // First of all, so that a disk that fills up does not take the result of the job with it.
  if (is_root && !options.quiet) {
    print_report(result.report, structure.description);
    std::fflush(stdout);
  }
  run_agreed(communicator, "output", ErrorCode::kConfig, [&] {
    if (!options.output.empty() && writes_output(communicator)) {
      write_output(options.output, *result.module, structure.config);
    }
    if (is_root && !options.json.empty()) {
      write_report(options.json, result.report, structure.description);
    }
  });
  if (is_root && !options.quiet && !options.output.empty()) {
    log_info(fmt::format("rank {} wrote its fake score to {}", communicator.world_size() - 1,
                         options.output.string()));
  }
}

}  // namespace fakescore::launcher
