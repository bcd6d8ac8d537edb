#pragma once

#include <filesystem>
#include <string>

namespace fakescore::launcher {

/// The files of an output folder.
inline constexpr const char* kWeightsFile = "diffusion_pytorch_model.safetensors";
inline constexpr const char* kConfigFile = "config.json";

/// Makes the folder that write_output() will fill, and makes sure that it can be written and is not
/// the teacher's own. Throws ConfigError naming the path.
void prepare_output(const std::filesystem::path& folder, const std::filesystem::path& teacher);

/// Makes sure that the folder has no configuration of an older model if write_output() will write
/// none: `config_json` is empty then. Throws ConfigError naming the file.
void check_output_config(const std::filesystem::path& folder, const std::string& config_json);

/// Makes sure that write_report() will be able to write `file`, which it leaves as it is, and that
/// it is none of the files that the job reads, nor of those it writes into `output`, which may be
/// empty. Throws ConfigError naming the path.
void check_report_file(const std::filesystem::path& file, const std::filesystem::path& teacher,
                       const std::filesystem::path& config, const std::filesystem::path& output);

}  // namespace fakescore::launcher
