#pragma once

#include <ATen/ops/ones.h>

#include <string>
#include <utility>
#include <vector>

#include "fakescore/comm/communicator.hpp"
#include "fakescore/module/module_tensors.hpp"
#include "fakescore/teacher/teacher_source.hpp"

namespace fakescore::testing {

using NamedTensors = std::vector<NamedTensor>;

/// What a checkpoint of the module holds.
inline NamedTensors persistent_tensors(const torch::nn::Module& module) {
  NamedTensors tensors;
  for (const NamedTensor& entry : module_tensors(module)) {
    if (entry.kind != TensorKind::kNonPersistentBuffer) {
      tensors.push_back({entry.name, entry.tensor.detach()});
    }
  }
  return tensors;
}

/// `source` on rank 0; elsewhere a teacher that cannot be opened.
inline TeacherSource only_on_root(const Communicator& communicator, const TeacherSource& source) {
  if (communicator.rank() != 0) return TeacherSource::path("/nonexistent/on/this/rank");
  return source;
}

inline TeacherSource only_on_root(const Communicator& communicator, NamedTensors tensors) {
  return only_on_root(communicator, TeacherSource::state_dict(std::move(tensors)));
}

/// A teacher of nothing that a module here has: every tensor of it is missing.
inline TeacherSource unrelated_teacher(const Communicator& communicator) {
  return only_on_root(communicator, NamedTensors{{"unrelated", at::ones({1})}});
}

}  // namespace fakescore::testing
