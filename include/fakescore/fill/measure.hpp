#pragma once

#include <cstdint>
#include <filesystem>

#include "fakescore/comm/communicator.hpp"
#include "fakescore/export.hpp"
#include "fakescore/fill/predict.hpp"

namespace fakescore {

struct MeasureOptions {
  std::filesystem::path file;  ///< to read from: every rank sees it
  /// That each rank moves for each figure. It holds as many and a few buckets.
  uint64_t bytes = uint64_t{128} << 20;
  int rounds = 5;  ///< of which the fastest counts
};

struct Measured {
  Figures figures;
  int hosts = 1;
  int ranks_per_host = 1;
  /// Of the stretch of the file from which `disk` was measured, after its pages were given back:
  /// the part that the page cache had all the same. Above kMostCached there is no figure for disks.
  double cached = 0;
};

inline constexpr double kMostCached = 0.05;

/// What the hosts of this job give, found by the calls that a fill makes: of one rank while the
/// others wait, and of all at once. Collective. Throws ConfigError where hosts have different
/// numbers of ranks, or the file is too short, and TeacherError where a rank cannot read it.
///
/// Not every job can tell everything: one host alone knows nothing of links, one rank nothing of
/// messages, and ranks on CPUs nothing of the way to a GPU.
FAKESCORE_API Measured measure_figures(Communicator& communicator, const MeasureOptions& options);

}  // namespace fakescore
