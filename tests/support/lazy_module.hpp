#pragma once

#include <torch/torch.h>

namespace fakescore::testing {

/// Buffers whose elements are the conjugate or the negative of what lies in their storage.
class LazyModule : public torch::nn::Cloneable<LazyModule> {
 public:
  LazyModule() { reset(); }
  void reset() override {
    freqs = register_buffer("freqs", torch::polar(torch::ones(5), torch::randn(5)));
    conj = register_buffer("conj", freqs.conj());
    neg = register_buffer("neg", torch::imag(torch::polar(torch::ones(4), torch::randn(4)).conj()));
    member = freqs.conj();
  }

  torch::Tensor freqs, conj, neg;
  torch::Tensor member;  ///< not registered
};

}  // namespace fakescore::testing
