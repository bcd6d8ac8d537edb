#include "fakescore/core/teacher_source.hpp"

#include <utility>

#include "core/teacher/memory_teacher.hpp"
#include "core/teacher/open_teacher.hpp"
#include "fakescore/core/module_tensors.hpp"

namespace fakescore {

TeacherSource TeacherSource::path(std::filesystem::path path, TeacherPathOptions options) {
  std::string description = path.string();
  return {std::move(description), [path = std::move(path), options = std::move(options)] {
            return detail::open_teacher(path, options);
          }};
}

TeacherSource TeacherSource::state_dict(std::vector<std::pair<std::string, at::Tensor>> tensors) {
  return {"state dict in memory",
          [tensors = std::move(tensors)] { return detail::make_memory_teacher(tensors); }};
}

TeacherSource TeacherSource::module(std::shared_ptr<torch::nn::Module> module) {
  return {"module in memory", [module = std::move(module)] {
            std::vector<std::pair<std::string, at::Tensor>> tensors;
            for (const ModuleTensor& entry : module_tensors(*module)) {
              if (entry.kind == TensorKind::kNonPersistentBuffer) continue;
              tensors.emplace_back(entry.name, entry.tensor);
            }
            return detail::make_memory_teacher(std::move(tensors));
          }};
}

}  // namespace fakescore
