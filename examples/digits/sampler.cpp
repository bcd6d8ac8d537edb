#include "sampler.hpp"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace fakescore::digits {
namespace {

constexpr int64_t kTrainingSteps = 1000;
constexpr double kLargestBeta = 0.999;

double alpha_bar(double time) {
  const double cosine = std::cos((time + 0.008) / 1.008 * std::numbers::pi / 2.0);
  return cosine * cosine;
}

/// Evaluation mode while it lives: in training mode a tenth of the labels is dropped.
class EvaluationMode {
 public:
  explicit EvaluationMode(torch::nn::Module& module)
      : module_(module), was_training_(module.is_training()) {
    module_.eval();
  }
  ~EvaluationMode() { module_.train(was_training_); }
  EvaluationMode(const EvaluationMode&) = delete;
  EvaluationMode& operator=(const EvaluationMode&) = delete;

 private:
  torch::nn::Module& module_;
  bool was_training_;
};

}  // namespace

torch::Tensor alphas_cumprod() {
  std::vector<float> betas;
  for (int64_t i = 0; i < kTrainingSteps; ++i) {
    const double now = static_cast<double>(i) / kTrainingSteps;
    const double next = static_cast<double>(i + 1) / kTrainingSteps;
    betas.push_back(
        static_cast<float>(std::min(1.0 - alpha_bar(next) / alpha_bar(now), kLargestBeta)));
  }
  return (1.0 - torch::tensor(betas)).cumprod(0);
}

torch::Tensor denoise(DiTTransformer2DModel& model, torch::Tensor noise,
                      const torch::Tensor& labels, int64_t steps) {
  TORCH_CHECK_VALUE(steps >= 1 && steps <= kTrainingSteps, "steps must be from 1 to ",
                    kTrainingSteps, ", is ", steps);
  const torch::NoGradGuard no_grad;
  const EvaluationMode evaluation(model);
  const torch::Tensor alphas = alphas_cumprod();
  const torch::Tensor clean = torch::ones({}, torch::kFloat32);
  const int64_t stride = kTrainingSteps / steps;
  torch::Tensor sample = std::move(noise);
  for (int64_t i = steps - 1; i >= 0; --i) {
    const torch::Tensor alpha = alphas[i * stride];
    const torch::Tensor alpha_next = i > 0 ? alphas[(i - 1) * stride] : clean;
    const torch::Tensor timestep = torch::full_like(labels, i * stride);
    const torch::Tensor predicted_noise = model.forward(sample, timestep, labels);
    const torch::Tensor image =
        ((sample - (1 - alpha).sqrt() * predicted_noise) / alpha.sqrt()).clamp(-1.0, 1.0);
    sample = alpha_next.sqrt() * image + (1 - alpha_next).sqrt() * predicted_noise;
  }
  return sample;
}

torch::Tensor sample_digits(DiTTransformer2DModel& model, const torch::Tensor& labels,
                            int64_t steps, uint64_t seed) {
  const DiTConfig& config = model.config();
  const torch::Device device = model.parameters().front().device();
  const auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  const torch::Tensor noise =
      torch::randn({labels.size(0), config.in_channels, config.sample_size, config.sample_size},
                   generator, torch::TensorOptions(torch::kFloat32));
  return denoise(model, noise.to(device), labels.to(device), steps);
}

}  // namespace fakescore::digits
