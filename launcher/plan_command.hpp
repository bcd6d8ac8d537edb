#pragma once

#include "options.hpp"

namespace fakescore::launcher {

/// The `plan` command: prints what a job would do. Throws Error, also where the job would fail for
/// its keys, once everything is printed.
void plan(const PlanOptions& options);

}  // namespace fakescore::launcher
