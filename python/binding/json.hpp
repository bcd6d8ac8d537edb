#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "fakescore/fill/dry_run.hpp"
#include "fakescore/fill/fill_options.hpp"
#include "fakescore/fill/fill_report.hpp"
#include "fakescore/fill/forecast.hpp"
#include "fakescore/fill/sync_tensors.hpp"

namespace fakescore::python {

/// Throws ConfigError naming an option whose value cannot be read.
FillOptions fill_options(const std::string& json);
SyncOptions sync_options(const std::string& json);
/// Of a job over its own process group on CPUs, which reads as `fill` says.
ForecastOptions forecast_options(const std::string& json, const FillOptions& fill);

nlohmann::json to_json(const FillReport& report);
nlohmann::json to_json(const SyncReport& report);
nlohmann::json to_json(const DryRunReport& report);

/// "bfloat16", as torch names it, without its "torch.".
at::ScalarType dtype_of(const std::string& name);

}  // namespace fakescore::python
