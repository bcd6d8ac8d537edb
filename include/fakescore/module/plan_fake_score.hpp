#pragma once

#include "fakescore/export.hpp"
#include "fakescore/fill/dry_run.hpp"
#include "fakescore/module/create_fake_score_meta.hpp"

namespace fakescore {

/// dry_run of create_fake_score_meta: builds the module on meta, and says what a job of
/// `world_size` ranks would do.
FAKESCORE_API DryRunReport plan_fake_score(const ModuleBuilder& build, const TeacherSource& teacher,
                                           int world_size, const MetaOptions& options = {});

}  // namespace fakescore
