#pragma once

#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>

namespace fakescore::detail {

/// While it lives, tensors that are made can be trained, also where the caller is in InferenceMode.
/// Whether gradients are recorded stays as it was.
class NoInferenceMode {
  bool records_gradients_ = at::GradMode::is_enabled();
  c10::InferenceMode no_inference_{false};
  at::AutoGradMode gradients_{records_gradients_};
};

}  // namespace fakescore::detail
