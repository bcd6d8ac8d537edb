#include "models/dit_layers.hpp"

#include <torch/torch.h>

#include <cmath>

namespace fakescore::detail {
namespace {

constexpr int64_t kTimestepChannels = 256;
constexpr double kMaxPeriod = 10000.0;
constexpr double kClassDropout = 0.1;
constexpr double kPlainNormEps = 1e-6;
constexpr int64_t kFeedForwardFactor = 4;

torch::nn::Linear make_linear(int64_t in, int64_t out, bool bias = true) {
  return torch::nn::Linear(torch::nn::LinearOptions(in, out).bias(bias));
}

/// Sine and cosine of one coordinate. In float64, as diffusers has it: float32 would be off by
/// more than the tolerance a recorded buffer is compared with.
torch::Tensor sincos_1d(int64_t dim, const torch::Tensor& position) {
  auto omega = torch::arange(dim / 2, position.options().dtype(torch::kFloat64));
  omega = 1.0 / torch::pow(kMaxPeriod, omega / (static_cast<double>(dim) / 2.0));
  const auto angle = torch::outer(position.reshape(-1).to(torch::kFloat64), omega);
  return torch::cat({torch::sin(angle), torch::cos(angle)}, 1);
}

/// The table of positions, (1, height * width, dim) float32. Coordinates are scaled so that they
/// span what the model was trained with, whatever the size. Tensor ops only, so that it can be
/// recorded under meta construction; `options` brings the device, if any.
torch::Tensor sincos_2d(int64_t dim, int64_t height, int64_t width, int64_t base_size,
                        const torch::TensorOptions& options) {
  const auto axis = [&](int64_t size) {
    return torch::arange(size, options.dtype(torch::kFloat32)) /
           (static_cast<double>(size) / static_cast<double>(base_size));
  };
  const auto grid = torch::meshgrid({axis(width), axis(height)}, "xy");
  const auto table = torch::cat({sincos_1d(dim / 2, grid[0]), sincos_1d(dim / 2, grid[1])}, 1);
  return table.to(torch::kFloat32).unsqueeze(0);
}

/// (N) timesteps as (N, 256): cosines first, as diffusers' flip_sin_to_cos has it.
torch::Tensor timestep_channels(const torch::Tensor& timestep) {
  const int64_t half = kTimestepChannels / 2;
  const auto index = torch::arange(half, timestep.options().dtype(torch::kFloat32));
  const auto frequency = torch::exp(-std::log(kMaxPeriod) * index / static_cast<double>(half - 1));
  const auto angle = timestep.to(torch::kFloat32).unsqueeze(1) * frequency.unsqueeze(0);
  return torch::cat({torch::cos(angle), torch::sin(angle)}, 1);
}

}  // namespace

torch::Tensor plain_layer_norm(const torch::Tensor& tokens) {
  return torch::layer_norm(tokens, {tokens.size(-1)}, {}, {}, kPlainNormEps);
}

torch::Tensor modulate(const torch::Tensor& tokens, const torch::Tensor& scale,
                       const torch::Tensor& shift) {
  return tokens * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1);
}

DiTPatchEmbed::DiTPatchEmbed(const DiTConfig& config)
    : base_size_(config.sample_size / config.patch_size),
      proj_(torch::nn::Conv2dOptions(config.in_channels, config.inner_dim(), config.patch_size)
                .stride(config.patch_size)) {
  register_module("proj", proj_);
  pos_embed_ = register_buffer(
      "pos_embed", sincos_2d(config.inner_dim(), base_size_, base_size_, base_size_, {}));
}

torch::Tensor DiTPatchEmbed::forward(const torch::Tensor& image) {
  const auto patches = proj_(image);
  const int64_t height = patches.size(2);
  const int64_t width = patches.size(3);
  const auto tokens = patches.flatten(2).transpose(1, 2);
  auto positions = pos_embed_;
  if (height != base_size_ || width != base_size_) {
    positions = sincos_2d(tokens.size(2), height, width, base_size_,
                          torch::TensorOptions().device(tokens.device()));
  }
  return (tokens + positions).to(tokens.scalar_type());
}

DiTConditioning::DiTConditioning(const DiTConfig& config)
    : num_classes_(config.num_embeds_ada_norm),
      linear_1_(make_linear(kTimestepChannels, config.inner_dim())),
      linear_2_(make_linear(config.inner_dim(), config.inner_dim())),
      embedding_table_(torch::nn::EmbeddingOptions(num_classes_ + 1, config.inner_dim())) {
  auto timestep_embedder = std::make_shared<torch::nn::Module>("TimestepEmbedding");
  timestep_embedder->register_module("linear_1", linear_1_);
  timestep_embedder->register_module("linear_2", linear_2_);
  register_module("timestep_embedder", timestep_embedder);
  auto class_embedder = std::make_shared<torch::nn::Module>("LabelEmbedding");
  class_embedder->register_module("embedding_table", embedding_table_);
  register_module("class_embedder", class_embedder);
}

torch::Tensor DiTConditioning::drop_labels(const torch::Tensor& class_labels) const {
  const auto draws =
      torch::rand({class_labels.size(0)}, torch::TensorOptions().device(class_labels.device()));
  return class_labels.masked_fill(draws < kClassDropout, num_classes_);
}

torch::Tensor DiTConditioning::forward(const torch::Tensor& timestep,
                                       const torch::Tensor& class_labels, torch::ScalarType dtype) {
  const auto time = linear_2_(torch::silu(linear_1_(timestep_channels(timestep).to(dtype))));
  return time + embedding_table_(is_training() ? drop_labels(class_labels) : class_labels);
}

DiTAdaLayerNormZero::DiTAdaLayerNormZero(const DiTConfig& config)
    : emb_(std::make_shared<DiTConditioning>(config)),
      linear_(make_linear(config.inner_dim(), 6 * config.inner_dim())) {
  register_module("emb", emb_);
  register_module("linear", linear_);
}

DiTModulation DiTAdaLayerNormZero::forward(const torch::Tensor& tokens,
                                           const torch::Tensor& timestep,
                                           const torch::Tensor& class_labels) {
  const auto conditioning = emb_->forward(timestep, class_labels, tokens.scalar_type());
  const auto parts = linear_(torch::silu(conditioning)).chunk(6, 1);
  return {modulate(plain_layer_norm(tokens), parts[1], parts[0]), parts[2], parts[3], parts[4],
          parts[5]};
}

DiTAttention::DiTAttention(const DiTConfig& config)
    : heads_(config.num_attention_heads),
      dropout_(config.dropout),
      to_q_(make_linear(config.inner_dim(), config.inner_dim(), config.attention_bias)),
      to_k_(make_linear(config.inner_dim(), config.inner_dim(), config.attention_bias)),
      to_v_(make_linear(config.inner_dim(), config.inner_dim(), config.attention_bias)),
      to_out_(make_linear(config.inner_dim(), config.inner_dim())) {
  register_module("to_q", to_q_);
  register_module("to_k", to_k_);
  register_module("to_v", to_v_);
  register_module("to_out", torch::nn::ModuleList(to_out_));
}

torch::Tensor DiTAttention::forward(const torch::Tensor& tokens) {
  const auto split = [&](const torch::Tensor& projected) {
    return projected.unflatten(2, {heads_, -1}).transpose(1, 2);
  };
  const auto attended = torch::scaled_dot_product_attention(
      split(to_q_(tokens)), split(to_k_(tokens)), split(to_v_(tokens)));
  return torch::dropout(to_out_(attended.transpose(1, 2).flatten(2)), dropout_, is_training());
}

DiTFeedForward::DiTFeedForward(const DiTConfig& config)
    : dropout_(config.dropout),
      proj_in_(make_linear(config.inner_dim(), kFeedForwardFactor * config.inner_dim())),
      proj_out_(make_linear(kFeedForwardFactor * config.inner_dim(), config.inner_dim())) {
  auto activation = std::make_shared<torch::nn::Module>("GELU");
  activation->register_module("proj", proj_in_);
  auto net = std::make_shared<torch::nn::Module>("ModuleList");
  net->register_module("0", activation);
  // 1 is the dropout, which has no tensors.
  net->register_module("2", proj_out_);
  register_module("net", net);
}

torch::Tensor DiTFeedForward::forward(const torch::Tensor& tokens) {
  const auto hidden = torch::gelu(proj_in_(tokens), "tanh");
  return proj_out_(torch::dropout(hidden, dropout_, is_training()));
}

DiTBlock::DiTBlock(const DiTConfig& config)
    : norm1_(std::make_shared<DiTAdaLayerNormZero>(config)),
      attn1_(std::make_shared<DiTAttention>(config)),
      norm3_(torch::nn::LayerNormOptions({config.inner_dim()})
                 .eps(config.norm_eps)
                 .elementwise_affine(config.norm_elementwise_affine)),
      ff_(std::make_shared<DiTFeedForward>(config)) {
  register_module("norm1", norm1_);
  register_module("attn1", attn1_);
  register_module("norm3", norm3_);
  register_module("ff", ff_);
}

torch::Tensor DiTBlock::forward(const torch::Tensor& tokens, const torch::Tensor& timestep,
                                const torch::Tensor& class_labels) {
  const DiTModulation parts = norm1_->forward(tokens, timestep, class_labels);
  const auto attended =
      tokens + parts.gate_msa.unsqueeze(1) * attn1_->forward(parts.attention_input);
  const auto mlp_input = modulate(norm3_(attended), parts.scale_mlp, parts.shift_mlp);
  return attended + parts.gate_mlp.unsqueeze(1) * ff_->forward(mlp_input);
}

}  // namespace fakescore::detail
