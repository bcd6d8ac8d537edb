#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fakescore/export.hpp"
#include "fakescore/fill/predict.hpp"
#include "fakescore/fill/traffic.hpp"

namespace fakescore {

/// What a fill would send, and how long it would take.
struct Forecast {
  bool all_see_files = true;  ///< what this one takes for granted
  Traffic traffic;
  /// Where figures were given; from a disk where they have one.
  std::optional<Prediction> from_page_cache;
  std::optional<Prediction> from_disk;
};

struct ForecastOptions {
  JobShape shape;
  TrafficOptions traffic;
  uint64_t bucket_bytes = 0;  ///< of one broadcast
  std::optional<Figures> figures;
};

/// With TeacherRead::kAuto it depends on the files who reads: then of both cases, the one in which
/// every rank sees them first. Pure. Throws ConfigError as plan_traffic and predict do.
FAKESCORE_API std::vector<Forecast> forecast(const std::vector<PlannedTensor>& tensors,
                                             const ForecastOptions& options);

/// As a JSON array. Neighbouring ranks or hosts that read and send the same are one entry, from
/// "first" to "last".
FAKESCORE_API std::string to_json(const std::vector<Forecast>& forecasts);

}  // namespace fakescore
