#pragma once

#include <torch/nn/module.h>

#include <filesystem>
#include <string>

namespace fakescore::launcher {

/// Throws ConfigError naming the first tensor that write_output() could not write, for its name or
/// its dtype. The module may be on the meta device.
void check_can_be_output(const torch::nn::Module& module);

/// Fills a folder that is there as a diffusers folder: diffusion_pytorch_model.safetensors with its
/// parameters and persistent buffers, and config.json where there is a configuration. What is tied
/// is written once; the metadata then maps the other names to it, as safetensors' save_model does.
/// Each file appears whole or not at all. Throws ConfigError naming the path.
void write_output(const std::filesystem::path& folder, const torch::nn::Module& module,
                  const std::string& config_json);

}  // namespace fakescore::launcher
