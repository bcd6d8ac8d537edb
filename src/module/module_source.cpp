#include "fakescore/module/module_source.hpp"

#include <torch/nn/module.h>

#include <utility>

#include "fakescore/module/module_tensors.hpp"
#include "teacher/source/memory_teacher.hpp"

namespace fakescore {

TeacherSource module_source(std::shared_ptr<torch::nn::Module> module) {
  return TeacherSource::custom("module in memory", [module = std::move(module)] {
    std::vector<NamedTensor> tensors = module_tensors(*module);
    std::erase_if(tensors, [](const NamedTensor& entry) {
      return entry.kind == TensorKind::kNonPersistentBuffer;
    });
    return detail::make_memory_teacher(tensors);
  });
}

}  // namespace fakescore
