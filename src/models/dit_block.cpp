#include "models/dit_block.hpp"

#include <torch/torch.h>

namespace fakescore::detail {
namespace {

constexpr int64_t kFeedForwardFactor = 4;
constexpr double kPlainNormEps = 1e-6;

}  // namespace

torch::Tensor plain_layer_norm(const torch::Tensor& hidden_states) {
  return torch::layer_norm(hidden_states, {hidden_states.size(-1)}, {}, {}, kPlainNormEps);
}

torch::Tensor modulate(const torch::Tensor& x, const torch::Tensor& shift,
                       const torch::Tensor& scale) {
  return x * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1);
}

DiTAdaNorm::DiTAdaNorm(const DiTConfig& config)
    : emb_(register_module("emb", std::make_shared<DiTConditioning>(config.num_embeds_ada_norm,
                                                                    config.inner_dim()))),
      linear_(config.inner_dim(), 6 * config.inner_dim()) {
  register_module("linear", linear_);
}

DiTAdaNorm::Output DiTAdaNorm::forward(const torch::Tensor& hidden_states,
                                       const torch::Tensor& timestep, const torch::Tensor& labels) {
  const torch::Tensor conditioning = emb_->forward(timestep, labels, hidden_states.scalar_type());
  // shift, scale and gate of the attention, then of the multilayer perceptron
  const auto parts = linear_->forward(torch::silu(conditioning)).chunk(6, 1);
  return {modulate(plain_layer_norm(hidden_states), parts[0], parts[1]), parts[2], parts[3],
          parts[4], parts[5]};
}

DiTAttention::DiTAttention(const DiTConfig& config)
    : heads_(config.num_attention_heads),
      to_q_(nullptr),
      to_k_(nullptr),
      to_v_(nullptr),
      to_out_(config.inner_dim(), config.inner_dim()),
      dropout_(config.dropout) {
  const int64_t dim = config.inner_dim();
  const auto options = torch::nn::LinearOptions(dim, dim).bias(config.attention_bias);
  to_q_ = register_module("to_q", torch::nn::Linear(options));
  to_k_ = register_module("to_k", torch::nn::Linear(options));
  to_v_ = register_module("to_v", torch::nn::Linear(options));
  register_module("to_out", torch::nn::ModuleList(to_out_, dropout_));
}

torch::Tensor DiTAttention::forward(const torch::Tensor& hidden_states) {
  auto by_head = [&](torch::nn::Linear& projection) {
    return projection->forward(hidden_states).unflatten(2, {heads_, -1}).transpose(1, 2);
  };
  const torch::Tensor attended =
      at::scaled_dot_product_attention(by_head(to_q_), by_head(to_k_), by_head(to_v_));
  return dropout_->forward(to_out_->forward(attended.transpose(1, 2).flatten(2)));
}

DiTFeedForward::DiTFeedForward(const DiTConfig& config)
    : proj_in_(config.inner_dim(), kFeedForwardFactor * config.inner_dim()),
      proj_out_(kFeedForwardFactor * config.inner_dim(), config.inner_dim()),
      dropout_(config.dropout) {
  // diffusers keeps the first layer inside its activation: "net.0.proj"
  auto activation = std::make_shared<torch::nn::Module>();
  activation->register_module("proj", proj_in_);
  torch::nn::ModuleList net;
  net->push_back(activation);
  net->push_back(dropout_);
  net->push_back(proj_out_);
  register_module("net", net);
}

torch::Tensor DiTFeedForward::forward(const torch::Tensor& hidden_states) {
  const torch::Tensor inner = torch::gelu(proj_in_->forward(hidden_states), "tanh");
  return proj_out_->forward(dropout_->forward(inner));
}

DiTBlock::DiTBlock(const DiTConfig& config)
    : norm1_(register_module("norm1", std::make_shared<DiTAdaNorm>(config))),
      attn1_(register_module("attn1", std::make_shared<DiTAttention>(config))),
      norm3_(torch::nn::LayerNormOptions({config.inner_dim()})
                 .eps(config.norm_eps)
                 .elementwise_affine(config.norm_elementwise_affine)),
      ff_(register_module("ff", std::make_shared<DiTFeedForward>(config))) {
  register_module("norm3", norm3_);
}

torch::Tensor DiTBlock::forward(const torch::Tensor& hidden_states, const torch::Tensor& timestep,
                                const torch::Tensor& labels) {
  const DiTAdaNorm::Output norm = norm1_->forward(hidden_states, timestep, labels);
  const torch::Tensor attended =
      norm.gate_attention.unsqueeze(1) * attn1_->forward(norm.hidden_states) + hidden_states;
  const torch::Tensor modulated =
      modulate(norm3_->forward(attended), norm.shift_mlp, norm.scale_mlp);
  return norm.gate_mlp.unsqueeze(1) * ff_->forward(modulated) + attended;
}

}  // namespace fakescore::detail
