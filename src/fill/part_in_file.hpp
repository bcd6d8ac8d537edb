#pragma once

#include <memory>

#include "fakescore/teacher/teacher.hpp"
#include "fakescore/tensor/shard.hpp"
#include "fill/described_target.hpp"
#include "fill/fill_plan.hpp"

namespace fakescore::detail {

/// The bytes of a part of a group's tensor that lie in its file in one stretch, as they are stored;
/// null if they do not.
std::shared_ptr<const FileBytes> part_in_file(const GroupPlan& group,
                                              const DescribedTarget& described, Teacher& teacher,
                                              const Shard& part);

}  // namespace fakescore::detail
