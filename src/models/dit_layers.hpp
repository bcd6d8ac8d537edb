#pragma once

#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <memory>
#include <string>
#include <vector>

#include "fakescore/core/non_persistent.hpp"
#include "fakescore/models/dit.hpp"

// The parts of DiTTransformer2DModel. Classes and members follow diffusers' modules, since the
// names they register are the names in a checkpoint.
namespace fakescore::detail {

/// Cuts an image into patches and adds their positions.
class DiTPatchEmbed : public torch::nn::Module, public NonPersistentBuffers {
 public:
  explicit DiTPatchEmbed(const DiTConfig& config);
  torch::Tensor forward(const torch::Tensor& image);
  std::vector<std::string> non_persistent_buffers() const override { return {"pos_embed"}; }

 private:
  int64_t base_size_;  ///< patches along one side of an image of the trained size
  torch::nn::Conv2d proj_;
  torch::Tensor pos_embed_;
};

/// Timestep and class label as one vector (CombinedTimestepLabelEmbeddings).
class DiTConditioning : public torch::nn::Module {
 public:
  explicit DiTConditioning(const DiTConfig& config);
  torch::Tensor forward(const torch::Tensor& timestep, const torch::Tensor& class_labels,
                        torch::ScalarType dtype);

 private:
  torch::Tensor drop_labels(const torch::Tensor& class_labels) const;

  int64_t num_classes_;
  torch::nn::Linear linear_1_;
  torch::nn::Linear linear_2_;
  torch::nn::Embedding embedding_table_;
};

/// What adaLN-Zero makes of a block's input and the conditioning.
struct DiTModulation {
  torch::Tensor attention_input;
  torch::Tensor gate_msa;
  torch::Tensor shift_mlp;
  torch::Tensor scale_mlp;
  torch::Tensor gate_mlp;
};

class DiTAdaLayerNormZero : public torch::nn::Module {
 public:
  explicit DiTAdaLayerNormZero(const DiTConfig& config);
  DiTModulation forward(const torch::Tensor& tokens, const torch::Tensor& timestep,
                        const torch::Tensor& class_labels);
  DiTConditioning& conditioning() { return *emb_; }

 private:
  std::shared_ptr<DiTConditioning> emb_;
  torch::nn::Linear linear_;
};

class DiTAttention : public torch::nn::Module {
 public:
  explicit DiTAttention(const DiTConfig& config);
  torch::Tensor forward(const torch::Tensor& tokens);

 private:
  int64_t heads_;
  double dropout_;
  torch::nn::Linear to_q_;
  torch::nn::Linear to_k_;
  torch::nn::Linear to_v_;
  torch::nn::Linear to_out_;
};

class DiTFeedForward : public torch::nn::Module {
 public:
  explicit DiTFeedForward(const DiTConfig& config);
  torch::Tensor forward(const torch::Tensor& tokens);

 private:
  double dropout_;
  torch::nn::Linear proj_in_;
  torch::nn::Linear proj_out_;
};

class DiTBlock : public torch::nn::Module {
 public:
  explicit DiTBlock(const DiTConfig& config);
  torch::Tensor forward(const torch::Tensor& tokens, const torch::Tensor& timestep,
                        const torch::Tensor& class_labels);
  DiTConditioning& conditioning() { return norm1_->conditioning(); }

 private:
  std::shared_ptr<DiTAdaLayerNormZero> norm1_;
  std::shared_ptr<DiTAttention> attn1_;
  torch::nn::LayerNorm norm3_;
  std::shared_ptr<DiTFeedForward> ff_;
};

/// Layer norm without weights, as adaLN uses it. diffusers fixes its epsilon at 1e-6, whatever the
/// configuration's norm_eps says.
torch::Tensor plain_layer_norm(const torch::Tensor& tokens);

/// (N, tokens, dim) scaled and shifted by (N, dim) each.
torch::Tensor modulate(const torch::Tensor& tokens, const torch::Tensor& scale,
                       const torch::Tensor& shift);

}  // namespace fakescore::detail
