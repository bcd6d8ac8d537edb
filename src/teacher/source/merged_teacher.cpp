#include "teacher/source/merged_teacher.hpp"

#include <ATen/ops/cat.h>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "fakescore/error.hpp"
#include "teacher/source/renamed_teacher.hpp"

namespace fakescore::detail {
namespace {

/// Where `part`, some whole parts of a dotted name, begins in it.
std::optional<size_t> find_part(const std::string& name, const std::string& part) {
  for (size_t at = name.find(part); at != std::string::npos; at = name.find(part, at + 1)) {
    const size_t end = at + part.size();
    const bool begins = at == 0 || name[at - 1] == '.';
    if (begins && (end == name.size() || name[end] == '.')) return at;
  }
  return std::nullopt;
}

/// A tensor of the merged teacher: one of the teacher's own, or several.
struct Group {
  std::vector<size_t> indices;
  int64_t dim = 0;
};

class MergedTeacher : public Teacher {
 public:
  MergedTeacher(std::unique_ptr<Teacher> teacher, const std::vector<KeyMerge>& merges)
      : teacher_(std::move(teacher)) {
    const auto& own = teacher_->tensors();
    std::map<std::string, size_t> index_of;
    for (size_t i = 0; i < own.size(); ++i) index_of.emplace(own[i].name, i);
    std::map<size_t, TeacherTensor> merged;  // by the index of the first part
    std::map<size_t, Group> groups;
    std::set<size_t> parts;
    for (const KeyMerge& merge : merges) {
      for (size_t i = 0; i < own.size(); ++i) {
        const auto at = find_part(own[i].name, merge.parts.front());
        if (!at) continue;
        Group group = find_parts(i, *at, merge, index_of);
        for (const size_t index : group.indices) {
          if (!parts.insert(index).second) refuse(index, "is a part of two merged tensors");
        }
        merged.emplace(i, merged_tensor(group, *at, merge));
        groups.emplace(i, std::move(group));
      }
    }
    for (size_t i = 0; i < own.size(); ++i) {
      if (const auto found = groups.find(i); found != groups.end()) {
        add(std::move(merged.at(i)), std::move(found->second));
      } else if (!parts.contains(i)) {
        add(own[i], {{i}, 0});
      }
    }
  }

  const std::vector<TeacherTensor>& tensors() const override { return tensors_; }
  at::Tensor read(size_t index) override {
    const Group& group = groups_.at(index);
    if (group.indices.size() == 1) return teacher_->read(group.indices.front());
    std::vector<at::Tensor> parts;
    for (const size_t part : group.indices) parts.push_back(teacher_->read(part));
    return at::cat(parts, group.dim);
  }
  std::shared_ptr<const FileBytes> file_bytes(size_t index) override {
    const Group& group = groups_.at(index);
    return group.indices.size() == 1 ? teacher_->file_bytes(group.indices.front()) : nullptr;
  }
  std::map<std::string, std::string> metadata() const override { return teacher_->metadata(); }
  std::vector<TeacherFile> files() const override { return teacher_->files(); }
  TeacherChoice choice() const override { return teacher_->choice(); }

 private:
  [[noreturn]] void refuse(size_t index, std::string message,
                           std::string remedy = "correct the merges") const {
    const TeacherTensor& tensor = teacher_->tensors()[index];
    throw TeacherError((tensor.file.empty() ? "" : tensor.file + ", ") + "tensor " + tensor.name,
                       std::move(message), std::move(remedy));
  }

  Group find_parts(size_t first, size_t at, const KeyMerge& merge,
                   const std::map<std::string, size_t>& index_of) const {
    const std::string& name = teacher_->tensors()[first].name;
    Group group{{first}, merge.dim};
    for (size_t part = 1; part < merge.parts.size(); ++part) {
      std::string other = name;
      other.replace(at, merge.parts.front().size(), merge.parts[part]);
      const auto found = index_of.find(other);
      if (found == index_of.end()) {
        refuse(first, "is to be merged into " + merge.merged + " with " + other +
                          ", which the teacher does not have");
      }
      group.indices.push_back(found->second);
    }
    return group;
  }

  TeacherTensor merged_tensor(Group& group, size_t at, const KeyMerge& merge) const {
    const auto& own = teacher_->tensors();
    TeacherTensor merged = own[group.indices.front()];
    const auto dims = static_cast<int64_t>(merged.sizes.size());
    if (group.dim < 0) group.dim += dims;
    if (group.dim < 0 || group.dim >= dims) {
      refuse(group.indices.front(), "has no dimension " + std::to_string(merge.dim) +
                                        " along which it could be merged into " + merge.merged);
    }
    const auto dim = static_cast<size_t>(group.dim);
    merged.stored_name = stored_name(merged);
    for (const size_t index : group.indices) {
      if (!own[index].shard) continue;
      refuse(index, "is in shards, which cannot be merged: merge whole tensors");
    }
    for (size_t i = 1; i < group.indices.size(); ++i) {
      const TeacherTensor& part = own[group.indices[i]];
      std::vector<int64_t> sizes = part.sizes;
      if (sizes.size() == merged.sizes.size()) sizes[dim] = merged.sizes[dim];
      if (sizes != merged.sizes || part.dtype != merged.dtype || part.device != merged.device) {
        refuse(group.indices[i], "does not fit " + own[group.indices.front()].name +
                                     ", with which it is to be merged: dtype, device and all "
                                     "sizes but one must be the same");
      }
      merged.sizes[dim] += part.sizes[dim];
      merged.stored_name += " + " + stored_name(part);
    }
    merged.name.replace(at, merge.parts.front().size(), merge.merged);
    return merged;
  }

  void add(TeacherTensor tensor, Group group) {
    if (!names_.insert(tensor.name).second) {
      refuse(group.indices.front(), "would be a second tensor " + tensor.name);
    }
    tensors_.push_back(std::move(tensor));
    groups_.push_back(std::move(group));
  }

  std::unique_ptr<Teacher> teacher_;
  std::vector<TeacherTensor> tensors_;
  std::vector<Group> groups_;  ///< as tensors_
  std::set<std::string> names_;
};

}  // namespace

void check_merge(const KeyMerge& merge) {
  std::set<std::string> parts(merge.parts.begin(), merge.parts.end());
  if (!merge.merged.empty() && !parts.contains("") && merge.parts.size() > 1 &&
      parts.size() == merge.parts.size()) {
    return;
  }
  throw ConfigError("merge into \"" + merge.merged + "\"",
                    "needs a name, and two or more different parts of names",
                    "give them as in to_qkv = to_q, to_k, to_v");
}

std::unique_ptr<Teacher> merge_keys(std::unique_ptr<Teacher> teacher,
                                    const std::vector<KeyMerge>& merges) {
  return std::make_unique<MergedTeacher>(std::move(teacher), merges);
}

}  // namespace fakescore::detail
