#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>

#include <memory>
#include <string>
#include <vector>

#include "fakescore/export.hpp"

namespace fakescore {

/// The fields of diffusers' DiTTransformer2DModel configuration, with its defaults.
struct DiTConfig {
  int64_t num_attention_heads = 16;
  int64_t attention_head_dim = 72;
  int64_t in_channels = 4;
  int64_t out_channels = 4;  ///< null or missing in the JSON: as many as in_channels
  int64_t num_layers = 28;
  double dropout = 0.0;
  bool attention_bias = true;
  int64_t sample_size = 32;
  int64_t patch_size = 2;
  int64_t num_embeds_ada_norm = 1000;
  bool norm_elementwise_affine = false;
  double norm_eps = 1e-5;

  int64_t inner_dim() const { return num_attention_heads * attention_head_dim; }
  /// Throws ConfigError naming the key for a value that DiTTransformer2DModel does not have here.
  /// Keys that it does not know are left alone, as diffusers does.
  static FAKESCORE_API DiTConfig from_json(const std::string& config_json);
};

struct DiTFeatures {
  torch::Tensor sample;
  std::vector<torch::Tensor> block_outputs;
};

namespace detail {
class DiTBlock;
class DiTPatchEmbed;
}  // namespace detail

/// DiTTransformer2DModel (Peebles and Xie, "Scalable Diffusion Models with Transformers", 2022, as
/// diffusers 0.42 writes it), inference and training, with diffusers' state dict names.
/// In training mode one class label in ten is dropped at random, as diffusers does, so that the
/// model also learns "no class".
class FAKESCORE_API DiTTransformer2DModel : public torch::nn::Module {
 public:
  /// Throws ConfigError naming the field if no model can have such a configuration.
  explicit DiTTransformer2DModel(const DiTConfig& config);

  /// hidden_states (N, in_channels, H, W) floating, H and W multiples of patch_size; timestep (N);
  /// class_labels (N) int64; the label num_embeds_ada_norm means "no class".
  /// Returns (N, out_channels, H, W).
  torch::Tensor forward(torch::Tensor hidden_states, torch::Tensor timestep,
                        torch::Tensor class_labels);

  /// The same, and the output of each transformer block, (N, tokens, inner_dim): features, for a
  /// discriminator say.
  DiTFeatures forward_features(torch::Tensor hidden_states, torch::Tensor timestep,
                               torch::Tensor class_labels);

  const DiTConfig& config() const { return config_; }

 private:
  torch::Tensor run(const torch::Tensor& hidden_states, const torch::Tensor& timestep,
                    const torch::Tensor& class_labels, std::vector<torch::Tensor>* block_outputs);

  DiTConfig config_;
  std::shared_ptr<detail::DiTPatchEmbed> pos_embed_;
  std::vector<std::shared_ptr<detail::DiTBlock>> blocks_;
  torch::nn::Linear proj_out_1_{nullptr};
  torch::nn::Linear proj_out_2_{nullptr};
};

}  // namespace fakescore
