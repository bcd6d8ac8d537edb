#include "fill/flatten_parts.hpp"

#include <utility>

#include "fill/shards.hpp"
#include "tensor/boxes.hpp"

namespace fakescore::detail {
namespace {

class FlattenedTeacher : public Teacher {
 public:
  FlattenedTeacher(std::unique_ptr<Teacher> teacher, std::vector<TeacherTensor> tensors)
      : teacher_(std::move(teacher)), tensors_(std::move(tensors)) {}

  const std::vector<TeacherTensor>& tensors() const override { return tensors_; }
  at::Tensor read(size_t index) override {
    const at::Tensor part = teacher_->read(index);
    const auto& shard = tensors_.at(index).shard;
    return shard && is_flattened(*shard) ? part.flatten() : part;
  }
  std::shared_ptr<const FileBytes> file_bytes(size_t index) override {
    return teacher_->file_bytes(index);
  }
  std::map<std::string, std::string> metadata() const override { return teacher_->metadata(); }
  std::vector<TeacherFile> files() const override { return teacher_->files(); }
  TeacherChoice choice() const override { return teacher_->choice(); }

 private:
  std::unique_ptr<Teacher> teacher_;
  std::vector<TeacherTensor> tensors_;
};

/// The box of a part in its whole tensor flattened, if its elements are neighbours there.
std::optional<Box> run_of(const Shard& part) {
  if (elements_of(part.box) == 0) return Box{{0}, {0}};
  const auto elements = stretch_of(part, 1);
  if (!elements) return std::nullopt;
  return Box{{static_cast<int64_t>(elements->begin)}, {static_cast<int64_t>(elements->size())}};
}

}  // namespace

std::unique_ptr<Teacher> flatten_parts(std::unique_ptr<Teacher> teacher,
                                       const DescribedTarget& described, const FillPlan& plan) {
  if (!teacher) return teacher;
  std::vector<TeacherTensor> tensors = teacher->tensors();
  bool flattens = false;
  for (const GroupPlan& group : plan.groups) {
    for (const auto& fill : group.fills) {
      const Shard own = shard_of(described.manifest.specs()[fill.spec]);
      std::optional<Shard>& part = tensors[fill.teacher].shard;
      if (!part || !is_flattened(own) || is_flattened(*part)) continue;
      if (own.flattened_from != part->global_sizes) continue;
      const auto run = run_of(*part);
      if (!run) continue;
      part = Shard{own.global_sizes, *run, own.flattened_from};
      flattens = true;
    }
  }
  if (!flattens) return teacher;
  return std::make_unique<FlattenedTeacher>(std::move(teacher), std::move(tensors));
}

}  // namespace fakescore::detail
