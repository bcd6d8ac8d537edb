#pragma once

#include <memory>

#include "fakescore/teacher/teacher.hpp"
#include "fill/described_target.hpp"
#include "fill/fill_plan.hpp"

namespace fakescore::detail {

/// A teacher in shards, for a target in which FSDP1 has flattened tensors: this rank's parts of
/// these are parts of the flattened ones where their elements are neighbours, as rows are. Other
/// parts stay as they are.
std::unique_ptr<Teacher> flatten_parts(std::unique_ptr<Teacher> teacher,
                                       const DescribedTarget& described, const FillPlan& plan);

}  // namespace fakescore::detail
