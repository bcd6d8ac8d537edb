#include "models/dit_embeddings.hpp"

#include <torch/torch.h>

#include <cmath>

namespace fakescore::detail {
namespace {

constexpr int64_t kTimestepFrequencies = 256;
constexpr double kMaxPeriod = 10000.0;
constexpr double kLabelDropout = 0.1;

/// (positions, dim): sines, then cosines. In float64 as diffusers has it, so that the float32
/// values come out the same.
torch::Tensor sinusoids_1d(int64_t dim, const torch::Tensor& positions) {
  torch::Tensor omega = torch::arange(dim / 2, torch::kFloat64);
  omega.div_(static_cast<double>(dim) / 2.0);
  omega = torch::pow(kMaxPeriod, omega).reciprocal();
  const torch::Tensor angles = torch::outer(positions, omega);
  return torch::cat({angles.sin(), angles.cos()}, 1);
}

/// (1, height * width, dim): the first half of the channels tells the column, the second the row.
/// A grid of another size than the model's own is stretched over the same range. Names no device:
/// what names one does not become a meta tensor under a MetaInitGuard.
torch::Tensor sinusoids_2d(int64_t dim, int64_t height, int64_t width, int64_t base_size) {
  auto positions = [&](int64_t size) {
    const double stretch = static_cast<double>(size) / static_cast<double>(base_size);
    return torch::arange(size, torch::kFloat32).div(stretch);
  };
  const torch::Tensor columns = positions(width).unsqueeze(0).expand({height, width}).reshape({-1});
  const torch::Tensor rows = positions(height).unsqueeze(1).expand({height, width}).reshape({-1});
  const torch::Tensor table =
      torch::cat({sinusoids_1d(dim / 2, columns), sinusoids_1d(dim / 2, rows)}, 1);
  return table.to(torch::kFloat32).unsqueeze(0);
}

/// (timesteps, kTimestepFrequencies): cosines, then sines.
torch::Tensor timestep_sinusoids(const torch::Tensor& timestep) {
  constexpr int64_t kHalf = kTimestepFrequencies / 2;
  const auto options = torch::TensorOptions(torch::kFloat32).device(timestep.device());
  const torch::Tensor exponent =
      torch::arange(kHalf, options).mul(-std::log(kMaxPeriod)).div(static_cast<double>(kHalf - 1));
  const torch::Tensor angles =
      timestep.unsqueeze(1).to(torch::kFloat32) * exponent.exp().unsqueeze(0);
  return torch::cat({angles.cos(), angles.sin()}, 1);
}

}  // namespace

DiTPatchEmbed::DiTPatchEmbed(const DiTConfig& config)
    : base_size_(config.sample_size / config.patch_size),
      proj_(torch::nn::Conv2dOptions(config.in_channels, config.inner_dim(), config.patch_size)
                .stride(config.patch_size)) {
  register_module("proj", proj_);
  pos_embed_ = register_buffer(
      "pos_embed", sinusoids_2d(config.inner_dim(), base_size_, base_size_, base_size_));
}

torch::Tensor DiTPatchEmbed::forward(const torch::Tensor& image) {
  const torch::Tensor patches = proj_->forward(image);
  const int64_t height = patches.size(2);
  const int64_t width = patches.size(3);
  const torch::Tensor tokens = patches.flatten(2).transpose(1, 2);
  const bool own_size = height == base_size_ && width == base_size_;
  const torch::Tensor where =
      own_size ? pos_embed_
               : sinusoids_2d(tokens.size(2), height, width, base_size_).to(tokens.device());
  return (tokens + where).to(tokens.scalar_type());
}

DiTTimestepEmbedder::DiTTimestepEmbedder(int64_t frequencies, int64_t embedding_dim)
    : linear_1_(frequencies, embedding_dim), linear_2_(embedding_dim, embedding_dim) {
  register_module("linear_1", linear_1_);
  register_module("linear_2", linear_2_);
}

torch::Tensor DiTTimestepEmbedder::forward(const torch::Tensor& sinusoids) {
  return linear_2_->forward(torch::silu(linear_1_->forward(sinusoids)));
}

DiTLabelEmbedder::DiTLabelEmbedder(int64_t num_classes, int64_t embedding_dim)
    : num_classes_(num_classes), embedding_table_(num_classes + 1, embedding_dim) {
  register_module("embedding_table", embedding_table_);
}

torch::Tensor DiTLabelEmbedder::forward(torch::Tensor labels) {
  if (is_training()) {
    const auto options = torch::TensorOptions(torch::kFloat32).device(labels.device());
    const torch::Tensor dropped = torch::rand({labels.size(0)}, options) < kLabelDropout;
    labels = torch::where(dropped, num_classes_, labels);
  }
  return embedding_table_->forward(labels);
}

DiTConditioning::DiTConditioning(int64_t num_classes, int64_t embedding_dim)
    : timestep_embedder_(register_module(
          "timestep_embedder",
          std::make_shared<DiTTimestepEmbedder>(kTimestepFrequencies, embedding_dim))),
      class_embedder_(register_module(
          "class_embedder", std::make_shared<DiTLabelEmbedder>(num_classes, embedding_dim))) {}

torch::Tensor DiTConditioning::forward(const torch::Tensor& timestep, const torch::Tensor& labels,
                                       at::ScalarType dtype) {
  const torch::Tensor time = timestep_embedder_->forward(timestep_sinusoids(timestep).to(dtype));
  return time + class_embedder_->forward(labels);
}

}  // namespace fakescore::detail
