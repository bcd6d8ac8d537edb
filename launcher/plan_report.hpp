#pragma once

#include <filesystem>
#include <vector>

#include "fakescore/fill/forecast.hpp"
#include "fakescore/module/plan_fake_score.hpp"
#include "options.hpp"
#include "report.hpp"

namespace fakescore::launcher {

/// Prints a plan on standard output; lists are cut unless options.all is set.
void print_plan(const DryRunReport& plan, const RunDescription& run, const PlanOptions& options);

/// Writes a plan as JSON, with every key. Throws ConfigError naming the file.
void write_plan(const std::filesystem::path& path, const DryRunReport& plan,
                const std::vector<Forecast>& forecasts, const RunDescription& run);

}  // namespace fakescore::launcher
