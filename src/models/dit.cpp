#include "fakescore/models/dit.hpp"

#include <torch/torch.h>

#include "models/dit_block.hpp"
#include "models/dit_config.hpp"
#include "models/dit_embeddings.hpp"

namespace fakescore {

DiTTransformer2DModel::DiTTransformer2DModel(const DiTConfig& config) : config_(config) {
  detail::check_dit_config(config);
  const int64_t dim = config.inner_dim();
  const int64_t patch_values = config.patch_size * config.patch_size * config.out_channels;
  pos_embed_ = register_module("pos_embed", std::make_shared<detail::DiTPatchEmbed>(config));
  torch::nn::ModuleList transformer_blocks;
  for (int64_t i = 0; i < config.num_layers; ++i) {
    blocks_.push_back(std::make_shared<detail::DiTBlock>(config));
    transformer_blocks->push_back(blocks_.back());
  }
  register_module("transformer_blocks", transformer_blocks);
  proj_out_1_ = register_module("proj_out_1", torch::nn::Linear(dim, 2 * dim));
  proj_out_2_ = register_module("proj_out_2", torch::nn::Linear(dim, patch_values));
}

torch::Tensor DiTTransformer2DModel::forward(torch::Tensor hidden_states, torch::Tensor timestep,
                                             torch::Tensor class_labels) {
  return run(hidden_states, timestep, class_labels, nullptr);
}

DiTFeatures DiTTransformer2DModel::forward_features(torch::Tensor hidden_states,
                                                    torch::Tensor timestep,
                                                    torch::Tensor class_labels) {
  DiTFeatures features;
  features.sample = run(hidden_states, timestep, class_labels, &features.block_outputs);
  return features;
}

torch::Tensor DiTTransformer2DModel::run(const torch::Tensor& hidden_states,
                                         const torch::Tensor& timestep,
                                         const torch::Tensor& class_labels,
                                         std::vector<torch::Tensor>* block_outputs) {
  TORCH_CHECK_VALUE(hidden_states.dim() == 4 && hidden_states.size(2) % config_.patch_size == 0 &&
                        hidden_states.size(3) % config_.patch_size == 0,
                    "DiTTransformer2DModel: hidden_states of shape ", hidden_states.sizes(),
                    " cannot be cut into patches of ", config_.patch_size);
  const int64_t rows = hidden_states.size(2) / config_.patch_size;
  const int64_t columns = hidden_states.size(3) / config_.patch_size;
  torch::Tensor tokens = pos_embed_->forward(hidden_states);
  for (const auto& block : blocks_) {
    tokens = block->forward(tokens, timestep, class_labels);
    if (block_outputs != nullptr) block_outputs->push_back(tokens);
  }

  const torch::Tensor conditioning =
      blocks_.front()->conditioning()->forward(timestep, class_labels, tokens.scalar_type());
  const auto shift_scale = proj_out_1_->forward(torch::silu(conditioning)).chunk(2, 1);
  tokens = proj_out_2_->forward(
      detail::modulate(detail::plain_layer_norm(tokens), shift_scale[0], shift_scale[1]));

  const int64_t patch = config_.patch_size;
  return tokens.reshape({-1, rows, columns, patch, patch, config_.out_channels})
      .permute({0, 5, 1, 3, 2, 4})
      .reshape({-1, config_.out_channels, rows * patch, columns * patch});
}

}  // namespace fakescore
