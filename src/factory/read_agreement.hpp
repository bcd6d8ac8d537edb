#pragma once

#include <memory>
#include <string>

#include "fakescore/comm/communicator.hpp"
#include "fakescore/core/teacher_source.hpp"
#include "fakescore/factory/fake_score_meta.hpp"

namespace fakescore::detail {

struct ReadDecision {
  TeacherRead read = TeacherRead::kRoot;  ///< kRoot or kEveryRank
  std::string reason;                     ///< why not every rank reads; may be empty
};

/// Collective. Decides who reads the teacher, the same on every rank. The root passes the teacher
/// that it has opened, the others none: theirs is opened where every rank reads. Throws, on every
/// rank, TeacherError naming the rank and what differs where options.read is kEveryRank and a rank
/// does not see the root's files.
ReadDecision agree_on_read(Communicator& communicator, const TeacherSource& source,
                           std::unique_ptr<Teacher>& teacher, const MetaOptions& options,
                           at::Device device);

}  // namespace fakescore::detail
