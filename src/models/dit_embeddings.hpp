#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>

#include <string>
#include <vector>

#include "fakescore/models/dit.hpp"
#include "fakescore/module/non_persistent.hpp"

namespace fakescore::detail {

/// Cuts the image into patches and adds where each one lies (diffusers' PatchEmbed).
class DiTPatchEmbed : public torch::nn::Module, public NonPersistentBuffers {
 public:
  explicit DiTPatchEmbed(const DiTConfig& config);
  torch::Tensor forward(const torch::Tensor& image);
  std::vector<std::string> non_persistent_buffers() const override { return {"pos_embed"}; }

 private:
  int64_t base_size_;
  torch::nn::Conv2d proj_;
  torch::Tensor pos_embed_;
};

/// Two linear layers over the sinusoids of a timestep (diffusers' TimestepEmbedding).
class DiTTimestepEmbedder : public torch::nn::Module {
 public:
  DiTTimestepEmbedder(int64_t frequencies, int64_t embedding_dim);
  torch::Tensor forward(const torch::Tensor& sinusoids);

 private:
  torch::nn::Linear linear_1_;
  torch::nn::Linear linear_2_;
};

/// A table of classes with one more row for "no class" (diffusers' LabelEmbedding).
class DiTLabelEmbedder : public torch::nn::Module {
 public:
  DiTLabelEmbedder(int64_t num_classes, int64_t embedding_dim);
  torch::Tensor forward(torch::Tensor labels);

 private:
  int64_t num_classes_;
  torch::nn::Embedding embedding_table_;
};

/// What a block is conditioned on (diffusers' CombinedTimestepLabelEmbeddings).
class DiTConditioning : public torch::nn::Module {
 public:
  DiTConditioning(int64_t num_classes, int64_t embedding_dim);
  torch::Tensor forward(const torch::Tensor& timestep, const torch::Tensor& labels,
                        at::ScalarType dtype);

 private:
  std::shared_ptr<DiTTimestepEmbedder> timestep_embedder_;
  std::shared_ptr<DiTLabelEmbedder> class_embedder_;
};

}  // namespace fakescore::detail
