#pragma once

#include <torch/types.h>

#include <cstdint>

#include "fakescore/models/dit.hpp"

namespace fakescore::digits {

/// The product of (1 - beta) up to each of the 1000 training steps, for the squared cosine
/// schedule that the digits model was trained with.
torch::Tensor alphas_cumprod();

/// DDIM without added noise (Song, Meng and Ermon, 2021) as diffusers' DDIMScheduler does it with
/// its defaults: from `noise` (N, in_channels, size, size) to images in [-1, 1], one for each
/// label. Samples in evaluation mode and leaves the model in the mode it had.
torch::Tensor denoise(DiTTransformer2DModel& model, torch::Tensor noise,
                      const torch::Tensor& labels, int64_t steps);

/// Images for `labels` (N) from seeded noise: the same for the same seed on any device, up to
/// rounding.
torch::Tensor sample_digits(DiTTransformer2DModel& model, const torch::Tensor& labels,
                            int64_t steps, uint64_t seed);

}  // namespace fakescore::digits
