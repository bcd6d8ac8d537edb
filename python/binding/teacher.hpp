#pragma once

#include <torch/custom_class.h>

#include <optional>
#include <string>
#include <vector>

#include "fakescore/teacher/teacher_source.hpp"

namespace fakescore::python {

/// A TeacherSource; each call that gives it other names changes it.
class TeacherHolder : public torch::CustomClassHolder {
 public:
  std::string set_path(std::string path, std::string key, std::string variant,
                       std::string subfolder);
  /// With `sharded` not empty each rank has parts of its own (set_shards).
  std::string set_state_dict(const std::vector<std::string>& names,
                             const std::vector<at::Tensor>& tensors,
                             const std::vector<int64_t>& sharded,
                             const std::vector<std::vector<int64_t>>& global_sizes,
                             const std::vector<std::vector<int64_t>>& offsets,
                             const std::vector<std::vector<int64_t>>& flattened_from);
  /// Of a rank that has none.
  std::string set_nothing(std::string description, std::string remedy);
  std::string combine(const std::vector<c10::intrusive_ptr<TeacherHolder>>& parts);

  std::string strip_prefix(std::string prefix);
  std::string rename_keys(const std::vector<std::string>& rules);
  /// `renamed` says for each of `names` what it becomes; an empty name leaves the tensor out.
  std::string map_names(const std::vector<std::string>& names,
                        const std::vector<std::string>& renamed, std::string what);
  std::string unwrap_names();
  /// Of the merges' parts, `counts` has how many there are of each.
  std::string merge_keys(const std::vector<std::string>& merged, const std::vector<int64_t>& counts,
                         const std::vector<std::string>& parts, const std::vector<int64_t>& dims);

  /// [{"name": ..., "sizes": [...], "dtype": ..., "file": ...}]
  std::string tensors() const;

  const TeacherSource& get() const { return source_.value(); }

 private:
  std::optional<TeacherSource> source_;
};

void register_teacher(torch::Library& library);

}  // namespace fakescore::python
