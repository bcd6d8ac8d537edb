#include "teacher/source/combined_teacher.hpp"

#include <map>
#include <string>
#include <utility>

#include "fakescore/error.hpp"

namespace fakescore::detail {
namespace {

std::string place_of(const TeacherTensor& tensor) {
  return tensor.file.empty() ? "a teacher in memory" : tensor.file;
}

class CombinedTeacher : public Teacher {
 public:
  explicit CombinedTeacher(std::vector<std::unique_ptr<Teacher>> teachers)
      : teachers_(std::move(teachers)) {
    std::map<std::string, size_t> first;
    for (size_t teacher = 0; teacher < teachers_.size(); ++teacher) {
      const auto& tensors = teachers_[teacher]->tensors();
      for (size_t i = 0; i < tensors.size(); ++i) {
        const auto [found, is_new] = first.emplace(tensors[i].name, tensors_.size());
        if (!is_new) {
          throw TeacherError(
              "tensor " + tensors[i].name,
              "is in " + place_of(tensors_[found->second]) + " and in " + place_of(tensors[i]),
              "give only one of them, or give one of them other names");
        }
        tensors_.push_back(tensors[i]);
        places_.push_back({teacher, i});
      }
    }
  }

  const std::vector<TeacherTensor>& tensors() const override { return tensors_; }
  at::Tensor read(size_t index) override {
    const auto [teacher, own_index] = places_.at(index);
    return teachers_[teacher]->read(own_index);
  }
  std::shared_ptr<const FileBytes> file_bytes(size_t index) override {
    const auto [teacher, own_index] = places_.at(index);
    return teachers_[teacher]->file_bytes(own_index);
  }
  std::map<std::string, std::string> metadata() const override {
    std::map<std::string, std::string> all;
    for (const auto& teacher : teachers_) all.merge(teacher->metadata());
    return all;
  }
  std::vector<TeacherFile> files() const override {
    std::vector<TeacherFile> all;
    for (const auto& teacher : teachers_) {
      for (TeacherFile& file : teacher->files()) all.push_back(std::move(file));
    }
    return all;
  }
  TeacherChoice choice() const override {
    TeacherChoice all;
    for (const auto& teacher : teachers_) {
      const TeacherChoice own = teacher->choice();
      if (own.taken.empty()) continue;
      all.taken += (all.taken.empty() ? "" : ", ") + own.taken;
      all.passed_over.insert(all.passed_over.end(), own.passed_over.begin(), own.passed_over.end());
    }
    return all;
  }

 private:
  std::vector<std::unique_ptr<Teacher>> teachers_;
  std::vector<TeacherTensor> tensors_;
  std::vector<std::pair<size_t, size_t>> places_;  ///< of each: the teacher, and its index there
};

}  // namespace

std::unique_ptr<Teacher> combine_teachers(std::vector<std::unique_ptr<Teacher>> teachers) {
  return std::make_unique<CombinedTeacher>(std::move(teachers));
}

}  // namespace fakescore::detail
