#pragma once

#include <torch/nn/module.h>

#include <filesystem>
#include <string>

namespace fakescore::launcher {

/// Fills a folder that is there as a diffusers folder: diffusion_pytorch_model.safetensors with its
/// parameters and persistent buffers, and config.json where there is a configuration. What is tied
/// is written once; the metadata then maps the other names to it, as safetensors' save_model does.
/// Throws ConfigError naming the path.
void write_output(const std::filesystem::path& folder, const torch::nn::Module& module,
                  const std::string& config_json);

}  // namespace fakescore::launcher
