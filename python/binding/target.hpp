#pragma once

#include <torch/custom_class.h>

#include <optional>
#include <string>
#include <vector>

#include "fakescore/fill/fill_tensors.hpp"
#include "tape.hpp"
#include "teacher.hpp"

namespace fakescore::python {

/// A FillTarget, or the error with which making one failed on this rank.
class TargetHolder : public torch::CustomClassHolder {
 public:
  /// `kinds` are TensorKinds.
  std::string set_tensors(const std::vector<std::string>& names,
                          const std::vector<at::Tensor>& tensors, const std::vector<int64_t>& kinds,
                          bool is_given);
  /// Which of the tensors are parts of larger ones (shards.hpp).
  std::string set_shards(const std::vector<int64_t>& indices,
                         const std::vector<std::vector<int64_t>>& global_sizes,
                         const std::vector<std::vector<int64_t>>& offsets,
                         const std::vector<std::vector<int64_t>>& flattened_from);
  void set_tape(const c10::intrusive_ptr<Tape>& tape) { target_.tape = tape->get(); }
  void set_recorded(const c10::List<std::optional<at::Tensor>>& recorded);
  /// The error, as all ranks are to raise it; `code` is a word of to_string(ErrorCode).
  void set_failure(const std::string& code, const std::string& subject, const std::string& message,
                   const std::string& remedy);

  /// cast_floating_tensors with dtypes by name, such as "bfloat16".
  std::string cast(const std::string& dtype, const std::vector<std::string>& patterns,
                   const std::vector<std::string>& dtypes);

  /// Throws the error, if there is one.
  const FillTarget& get() const;
  /// dry_run for `world_size` ranks; the reply is the part of a DryRunReport that Python
  /// uses, and what is forecast of a job of that shape.
  std::string plan(const c10::intrusive_ptr<TeacherHolder>& teacher, int64_t world_size,
                   const std::string& options, const std::string& shape) const;

 private:
  FillTarget target_;
  std::optional<ErrorInfo> failure_;
};

void register_target(torch::Library& library);

}  // namespace fakescore::python
