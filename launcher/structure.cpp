#include "structure.hpp"

#include "fakescore/fakescore.hpp"

namespace fakescore::launcher {
namespace {

/// Root's configuration on every rank, so that no other rank needs the file.
std::string share_config(const JobOptions& options, Communicator& communicator) {
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

}  // namespace

std::filesystem::path find_config(const JobOptions& options) {
  if (!options.config.empty()) return options.config;
  // What cannot be reached here is for the teacher's own error to say.
  std::error_code error;
  const auto weights = options.teacher.weights();
  const auto folder =
      std::filesystem::is_directory(weights, error) ? weights : weights.parent_path();
  const auto candidate = folder / "config.json";
  return std::filesystem::is_regular_file(candidate, error) ? candidate : std::filesystem::path();
}

Structure choose_structure(const JobOptions& options, const TeacherSource& teacher,
                           Communicator& communicator) {
  const auto registry = ModelRegistry::with_builtin_models();
  Structure structure;
  structure.config = share_config(options, communicator);
  structure.description = {options.teacher.path.string(), "unknown (no config.json)", false};
  if (!structure.config.empty()) {
    structure.description.class_name = model_class_name(structure.config);
  }
  if (!structure.config.empty() && registry.contains(structure.description.class_name)) {
    structure.description.has_forward = true;
    structure.build = [registry, config = structure.config] { return registry.build(config); };
  } else {
    structure.build = [tensors = broadcast_teacher_tensors(teacher, communicator, kRoot)] {
      return build_checkpoint_module(tensors);
    };
  }
  return structure;
}

}  // namespace fakescore::launcher
