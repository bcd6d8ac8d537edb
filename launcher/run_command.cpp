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

namespace fakescore::launcher {
namespace {

constexpr int kRoot = 0;

/// The configuration file to read: the one given, or config.json beside the weights, or none.
std::filesystem::path find_config(const RunOptions& options) {
  if (!options.config.empty()) return options.config;
  // What cannot be reached here is for the teacher's own error to say.
  std::error_code error;
  const auto folder = std::filesystem::is_directory(options.teacher, error)
                          ? options.teacher
                          : options.teacher.parent_path();
  const auto candidate = folder / "config.json";
  return std::filesystem::is_regular_file(candidate, error) ? candidate : std::filesystem::path();
}

/// The rank that shows what arrived where no file was opened.
bool writes_output(const Communicator& communicator) {
  return communicator.rank() == communicator.world_size() - 1;
}

/// A destination that cannot be written is found before the job, which may take long.
void check_destinations(const RunOptions& options, Communicator& communicator) {
  run_agreed(communicator, "output", ErrorCode::kConfig, [&] {
    if (!options.output.empty() && writes_output(communicator)) {
      prepare_output(options.output, options.teacher);
    }
    if (!options.json.empty() && communicator.rank() == kRoot) {
      check_report_file(options.json, options.teacher, find_config(options));
    }
  });
}

/// Root's configuration on every rank, so that no other rank needs the file.
std::string share_config(const RunOptions& options, Communicator& communicator) {
  std::string text;
  run_agreed(communicator, "config", ErrorCode::kConfig, [&] {
    if (communicator.rank() != kRoot) return;
    const auto path = find_config(options);
    if (path.empty()) return;
    text = read_model_config(path);
    try {
      model_class_name(text);
    } catch (const ConfigError&) {
      // Found beside the weights, it may be another library's and say nothing of a class.
      if (!options.config.empty()) throw;
      text.clear();
    }
  });
  return communicator.broadcast_message(text, kRoot, "config");
}

struct Structure {
  ModuleBuilder build;
  RunDescription description;
};

Structure choose_structure(const RunOptions& options, const std::string& config,
                           const TeacherSource& teacher, Communicator& communicator) {
  const auto registry = ModelRegistry::with_builtin_models();
  Structure structure;
  structure.description = {options.teacher.string(), "unknown (no config.json)", false};
  if (!config.empty()) structure.description.class_name = model_class_name(config);
  if (!config.empty() && registry.contains(structure.description.class_name)) {
    structure.description.has_forward = true;
    structure.build = [registry, config] { return registry.build(config); };
  } else {
    structure.build = [tensors = broadcast_teacher_tensors(teacher, communicator, kRoot)] {
      return build_checkpoint_module(tensors);
    };
  }
  return structure;
}

MetaOptions make_meta_options(const RunOptions& options, const Communicator& communicator) {
  MetaOptions meta;
  meta.dtype = options.scalar_type();
  meta.root = kRoot;
  meta.read = options.teacher_read();
  meta.bucket_bytes = options.bucket_bytes;
  meta.pinned_bytes = options.pinned_bytes;
  meta.strict = options.strict;
  meta.verify = options.verify;
  if (communicator.rank() == kRoot && !options.quiet) {
    meta.progress = [display = std::make_shared<ProgressDisplay>()](const Progress& progress) {
      display->show(progress);
    };
  }
  return meta;
}

}  // namespace

void run(const RunOptions& options, Communicator& communicator) {
  const bool is_root = communicator.rank() == kRoot;
  check_destinations(options, communicator);
  const auto teacher = TeacherSource::path(options.teacher);
  const std::string config = share_config(options, communicator);
  const Structure structure = choose_structure(options, config, teacher, communicator);
  const MetaResult result = create_fake_score_meta(structure.build, teacher, communicator,
                                                   make_meta_options(options, communicator));
  // First of all, so that a disk that fills up does not take the result of the job with it.
  if (is_root && !options.quiet) {
    print_report(result.report, structure.description);
    std::fflush(stdout);
  }
  run_agreed(communicator, "output", ErrorCode::kConfig, [&] {
    if (!options.output.empty() && writes_output(communicator)) {
      write_output(options.output, *result.module, config);
    }
    if (is_root && !options.json.empty()) {
      write_report(options.json, result.report, structure.description);
    }
  });
  if (is_root && !options.quiet && !options.output.empty()) {
    log_info(fmt::format("rank {} wrote what it received to {}", communicator.world_size() - 1,
                         options.output.string()));
  }
}

}  // namespace fakescore::launcher
