#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include "fakescore/models/dit.hpp"
#include "models/dit_embeddings.hpp"

namespace fakescore::detail {

/// Layer norm whose shift, scale and gates come from the conditioning (AdaLayerNormZero).
class DiTAdaNorm : public torch::nn::Module {
 public:
  struct Output {
    torch::Tensor hidden_states, gate_attention, shift_mlp, scale_mlp, gate_mlp;
  };

  explicit DiTAdaNorm(const DiTConfig& config);
  Output forward(const torch::Tensor& hidden_states, const torch::Tensor& timestep,
                 const torch::Tensor& labels);
  const std::shared_ptr<DiTConditioning>& conditioning() const { return emb_; }

 private:
  std::shared_ptr<DiTConditioning> emb_;
  torch::nn::Linear linear_;
};

/// Self-attention over all tokens (diffusers' Attention).
class DiTAttention : public torch::nn::Module {
 public:
  explicit DiTAttention(const DiTConfig& config);
  torch::Tensor forward(const torch::Tensor& hidden_states);

 private:
  int64_t heads_;
  torch::nn::Linear to_q_, to_k_, to_v_, to_out_;
  torch::nn::Dropout dropout_;
};

/// The multilayer perceptron of a block (diffusers' FeedForward, "gelu-approximate").
class DiTFeedForward : public torch::nn::Module {
 public:
  explicit DiTFeedForward(const DiTConfig& config);
  torch::Tensor forward(const torch::Tensor& hidden_states);

 private:
  torch::nn::Linear proj_in_, proj_out_;
  torch::nn::Dropout dropout_;
};

/// diffusers' BasicTransformerBlock with norm_type "ada_norm_zero".
class DiTBlock : public torch::nn::Module {
 public:
  explicit DiTBlock(const DiTConfig& config);
  torch::Tensor forward(const torch::Tensor& hidden_states, const torch::Tensor& timestep,
                        const torch::Tensor& labels);
  const std::shared_ptr<DiTConditioning>& conditioning() const { return norm1_->conditioning(); }

 private:
  std::shared_ptr<DiTAdaNorm> norm1_;
  std::shared_ptr<DiTAttention> attn1_;
  torch::nn::LayerNorm norm3_;
  std::shared_ptr<DiTFeedForward> ff_;
};

/// Layer norm without weights, as everywhere in DiT but norm3.
torch::Tensor plain_layer_norm(const torch::Tensor& hidden_states);

/// x * (1 + scale) + shift, the same for each token.
torch::Tensor modulate(const torch::Tensor& x, const torch::Tensor& shift,
                       const torch::Tensor& scale);

}  // namespace fakescore::detail
