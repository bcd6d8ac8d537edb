#include "core/teacher/memory_teacher.hpp"

#include <set>
#include <utility>

#include "fakescore/core/error.hpp"

namespace fakescore::detail {
namespace {

class MemoryTeacher : public Teacher {
 public:
  explicit MemoryTeacher(std::vector<std::pair<std::string, at::Tensor>> tensors) {
    std::set<std::string> names;
    for (auto& [name, tensor] : tensors) {
      if (!names.insert(name).second || !tensor.defined() || tensor.is_meta()) {
        throw_error({ErrorCode::kTeacher, -1, "", "tensor " + name,
                     "is given twice, undefined or on the meta device",
                     "give each tensor once, with values"});
      }
      if (!tensor.is_cpu() && !tensor.is_cuda()) {
        throw_error({ErrorCode::kTeacher, -1, "", "tensor " + name,
                     "is on " + tensor.device().str() + ", which is neither the CPU nor a GPU",
                     "move the teacher's tensors to the CPU first"});
      }
      tensors_.push_back({name, tensor.sizes().vec(), tensor.scalar_type(), "", tensor.device()});
      values_.push_back(tensor.detach());
    }
  }

  const std::vector<TeacherTensor>& tensors() const override { return tensors_; }
  at::Tensor read(size_t index) override { return values_.at(index); }

 private:
  std::vector<TeacherTensor> tensors_;
  std::vector<at::Tensor> values_;
};

}  // namespace

std::unique_ptr<Teacher> make_memory_teacher(
    std::vector<std::pair<std::string, at::Tensor>> tensors) {
  return std::make_unique<MemoryTeacher>(std::move(tensors));
}

}  // namespace fakescore::detail
