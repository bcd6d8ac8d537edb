#include "teacher/source/memory_teacher.hpp"

#include <set>
#include <string>
#include <utility>

#include "fakescore/error.hpp"
#include "tensor/boxes.hpp"

namespace fakescore::detail {
namespace {

class MemoryTeacher : public Teacher {
 public:
  explicit MemoryTeacher(const std::vector<NamedTensor>& tensors) {
    std::set<std::string> names;
    for (const NamedTensor& entry : tensors) {
      if (!names.insert(entry.name).second || !entry.tensor.defined() || entry.tensor.is_meta()) {
        throw TeacherError("tensor " + entry.name,
                           "is given twice, undefined or on the meta device",
                           "give each tensor once, with values");
      }
      if (!entry.tensor.is_cpu() && !entry.tensor.is_cuda()) {
        throw TeacherError(
            "tensor " + entry.name,
            "is on " + entry.tensor.device().str() + ", which is neither the CPU nor a GPU",
            "move the teacher's tensors to the CPU first");
      }
      check_part(entry);
      tensors_.push_back({entry.name,
                          entry.shard ? whole_sizes(*entry.shard) : entry.tensor.sizes().vec(),
                          entry.tensor.scalar_type(), "", entry.tensor.device(), "", entry.shard});
      values_.push_back(entry.tensor.detach());
    }
  }

  const std::vector<TeacherTensor>& tensors() const override { return tensors_; }
  at::Tensor read(size_t index) override { return values_.at(index); }

 private:
  static void check_part(const NamedTensor& entry) {
    if (!entry.shard) return;
    const std::string problem = problem_of(*entry.shard, entry.tensor.sizes());
    if (!problem.empty()) throw TeacherError("tensor " + entry.name, problem, kBoxRemedy);
  }

  std::vector<TeacherTensor> tensors_;
  std::vector<at::Tensor> values_;
};

}  // namespace

std::unique_ptr<Teacher> make_memory_teacher(const std::vector<NamedTensor>& tensors) {
  return std::make_unique<MemoryTeacher>(tensors);
}

}  // namespace fakescore::detail
