#pragma once

#include <memory>
#include <vector>

#include "fakescore/teacher/teacher_source.hpp"

namespace fakescore::detail {

/// Throws ConfigError for a merge that is none.
void check_merge(const KeyMerge& merge);

/// As TeacherSource::merge_keys describes it.
std::unique_ptr<Teacher> merge_keys(std::unique_ptr<Teacher> teacher,
                                    const std::vector<KeyMerge>& merges);

}  // namespace fakescore::detail
