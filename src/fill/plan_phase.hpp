#pragma once

#include <memory>

#include "fakescore/teacher/teacher_source.hpp"
#include "fill/described_target.hpp"
#include "fill/fill_context.hpp"
#include "fill/fill_plan.hpp"
#include "fill/read_agreement.hpp"

namespace fakescore::detail {

/// How a target is filled, the same on every rank but for `teacher`.
struct PlannedFill {
  FillPlan plan;
  KeyReport keys;
  ReadDecision decision;
  std::unique_ptr<Teacher> teacher;  ///< of the ranks that read
  /// Of a teacher in shards: on some rank its parts are others than those to be filled, so that
  /// ranks send each other what they have.
  bool redistributes = false;

  bool every_rank_reads() const { return decision.read == TeacherRead::kEveryRank; }
  bool reads_in_turns() const { return decision.read == TeacherRead::kInTurns; }
};

/// Throws BuildError naming the tensors that are to be allocated and that neither the teacher nor a
/// tape has values for.
void check_can_be_replayed(const DescribedTarget& described, const FillPlan& plan);

/// Collective. The root opens the teacher and plans for all; the ranks agree on who reads.
PlannedFill plan_with_teacher(const FillContext& context, const DescribedTarget& described,
                              const TeacherSource& source);

}  // namespace fakescore::detail
