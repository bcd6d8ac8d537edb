#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>

namespace fakescore::detail {

/// A fake score is trained: what can have gradients gets them.
inline void require_gradients(at::Tensor parameter) {
  if (at::isFloatingType(parameter.scalar_type()) || at::isComplexType(parameter.scalar_type())) {
    parameter.set_requires_grad(true);
  }
}

/// While it lives, tensors that are made can be trained, also where the caller is in InferenceMode.
/// Whether gradients are recorded stays as it was.
class TrainableTensors {
  bool records_gradients_ = at::GradMode::is_enabled();
  c10::InferenceMode no_inference_{false};
  at::AutoGradMode gradients_{records_gradients_};
};

}  // namespace fakescore::detail
