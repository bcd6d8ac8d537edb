#pragma once

#include <torch/torch.h>

#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>

#include "fakescore/teacher/teacher_source.hpp"

namespace fakescore::testing {

/// Every tensor of a checkpoint, by name; copies, so that the file may go.
inline std::map<std::string, torch::Tensor> read_tensors(const std::filesystem::path& path) {
  const auto teacher = TeacherSource::path(path).open();
  std::map<std::string, torch::Tensor> tensors;
  for (size_t i = 0; i < teacher->tensors().size(); ++i) {
    tensors[teacher->tensors()[i].name] = teacher->read(i).clone();
  }
  return tensors;
}

/// Puts a checkpoint into a module on one process; every parameter must be in it.
inline void load_weights(torch::nn::Module& module, const std::filesystem::path& path) {
  const auto tensors = read_tensors(path);
  torch::NoGradGuard no_grad;
  for (auto& entry : module.named_parameters()) {
    const auto found = tensors.find(entry.key());
    if (found == tensors.end()) throw std::runtime_error("no tensor " + entry.key());
    entry.value().copy_(found->second);
  }
}

}  // namespace fakescore::testing
