#pragma once

#include <optional>
#include <string>
#include <vector>

#include "fakescore/error.hpp"
#include "fakescore/fill/fill_report.hpp"
#include "fakescore/teacher/teacher.hpp"
#include "fakescore/tensor/manifest.hpp"
#include "fill/fill_plan.hpp"

namespace fakescore::detail {

/// How the tensors to fill get their values, and what there is to say of their names.
struct MatchedKeys {
  FillPlan plan;
  KeyReport keys;  ///< without `choice`
};

/// Matches a teacher's tensors with those to be filled; `occupied` is the manifest's, by group.
/// Pure. Throws TeacherError for a teacher without tensors, and naming the tensor for a shape that
/// differs, a cast that would lose the number (complex to real, floating to integer, an integer to
/// one that cannot hold all its values), and, where `strict`, for missing and unexpected keys.
/// `teacher_description` names the teacher in messages.
MatchedKeys match_keys(const Manifest& manifest,
                       const std::vector<std::vector<ByteRange>>& occupied,
                       const std::vector<TeacherTensor>& teacher,
                       const std::string& teacher_description, bool strict);

/// The TeacherError of a strict fill with missing or unexpected keys; nullopt where there are none.
std::optional<ErrorInfo> strict_failure(const KeyReport& keys,
                                        const std::string& teacher_description);

}  // namespace fakescore::detail
