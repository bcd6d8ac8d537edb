#include "destinations.hpp"

#include <string>
#include <system_error>

#include "fakescore/error.hpp"
#include "file/whole_file.hpp"
#include "teacher/formats/weight_suffixes.hpp"

namespace fakescore::launcher {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse(const fs::path& path, const std::string& message,
                         const std::string& remedy) {
  throw_error({ErrorCode::kConfig, -1, "output", path.string(), message, remedy});
}

/// False where one of them is not there, as on a host that does not see the teacher.
bool is_same(const fs::path& a, const fs::path& b) {
  std::error_code error;
  return fs::equivalent(a, b, error) && !error;
}

bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

/// Whether `folder` is the teacher, holds it, or holds the file that it is a link to.
bool is_folder_of(const fs::path& folder, const fs::path& teacher) {
  std::error_code error;
  const auto parent = teacher.has_parent_path() ? teacher.parent_path() : fs::path(".");
  const fs::path real = fs::canonical(teacher, error);
  // Numbered shards are named by a pattern.
  const bool is_pattern = teacher.filename().string().find('*') != std::string::npos;
  if (error) return is_pattern && is_same(folder, parent);
  if (is_folder(real)) return is_same(folder, real);
  return is_same(folder, parent) || is_same(folder, real.parent_path());
}

/// Whether `file` may be one of a teacher's that is given by its folder or by one of its files,
/// such as the index of its shards.
bool is_checkpoint_file_of(const fs::path& file, const fs::path& teacher) {
  const std::string name = file.filename().string();
  const bool is_checkpoint_file =
      name.find(".index.") != std::string::npos || detail::ends_as_weights(name) ||
      name.ends_with(detail::kDistributedData) || name.ends_with(detail::kDistributedMetadata);
  const auto folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
  return is_checkpoint_file && is_folder_of(folder, teacher);
}

/// Leaves what the file holds as it is, and makes none that is not there.
void try_to_write(const fs::path& file, const std::string& remedy) {
  try {
    detail::WholeFile probe(file);
  } catch (const std::system_error& error) {
    refuse(file, std::string("cannot be written: ") + error.what(), remedy);
  }
}

/// Whether write_output() writes `file` into the folder `output`, which need not be there yet.
bool is_output_file(const fs::path& file, const fs::path& output) {
  const auto name = file.filename();
  if (output.empty() || (name != kWeightsFile && name != kConfigFile)) return false;
  std::error_code error;
  const auto absolute = [&](const fs::path& path) {
    return fs::weakly_canonical(fs::absolute(path, error), error);
  };
  return absolute(file) == absolute(output / name);
}

}  // namespace

void prepare_output(const fs::path& folder, const fs::path& teacher) {
  constexpr const char* kRemedy = "give a folder that can be written";
  if (is_folder_of(folder, teacher)) {
    refuse(folder, "is the teacher's own folder: its weights would be replaced",
           "give another folder");
  }
  std::error_code error;
  const auto index = folder / "diffusion_pytorch_model.safetensors.index.json";
  if (fs::exists(index, error)) {
    refuse(index, "is there, and would be read in place of what this job writes beside it",
           "give another folder, or remove the index and its shards");
  }
  fs::create_directories(folder, error);
  if (error) refuse(folder, "cannot be created: " + error.message(), kRemedy);
  for (const char* name : {kWeightsFile, kConfigFile}) try_to_write(folder / name, kRemedy);
}

void check_output_config(const fs::path& folder, const std::string& config_json) {
  std::error_code error;
  if (!config_json.empty() || !fs::exists(folder / kConfigFile, error)) return;
  refuse(folder / kConfigFile,
         "is there, and would be read with the weights that this job writes beside it, which come "
         "without a configuration",
         "give another folder or the teacher's --config, or remove the file");
}

void check_report_file(const fs::path& file, const fs::path& teacher, const fs::path& config,
                       const fs::path& output) {
  if (is_same(file, teacher) || is_same(file, config) || is_checkpoint_file_of(file, teacher)) {
    refuse(file, "is a file that the job reads", "give another file");
  }
  if (is_output_file(file, output)) {
    refuse(file, "is a file that --output writes", "give another file");
  }
  constexpr const char* kRemedy = "give a file in a folder that exists and can be written";
  if (is_folder(file)) refuse(file, "is a folder", kRemedy);
  std::error_code error;
  const bool is_pipe = fs::exists(file, error) && fs::is_fifo(file, error);
  // A pipe's reader would take the end of the trial for the end of the report.
  if (!is_pipe) try_to_write(file, kRemedy);
}

}  // namespace fakescore::launcher
