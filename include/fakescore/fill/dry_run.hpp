#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fakescore/error.hpp"
#include "fakescore/export.hpp"
#include "fakescore/fill/fill_options.hpp"
#include "fakescore/fill/fill_report.hpp"
#include "fakescore/fill/fill_tensors.hpp"
#include "fakescore/fill/traffic.hpp"
#include "fakescore/teacher/teacher_source.hpp"
#include "fakescore/tensor/named_tensor.hpp"

namespace fakescore {

/// A tensor whose values come from the record of its initialisation. Its kind says why: a parameter
/// or a buffer is missing in the teacher; the other kinds are never in a teacher.
struct ReplayedTensor {
  std::string name;
  TensorKind kind;
};

/// A tensor of the teacher that TeacherSource gave another name.
struct RenamedKey {
  std::string stored;
  std::string name;
};

/// Bytes that a rank needs for the job, beyond those of its process without a job.
struct PlannedMemory {
  uint64_t storage = 0;  ///< every rank: the tensors, on options.device
  uint64_t buckets = 0;  ///< every rank: packed buckets in flight, on options.device
  /// A rank that reads: the largest copy of a tensor that the teacher does not hold contiguous and
  /// aligned. There is one such copy at a time; most files need none.
  uint64_t largest_copy = 0;
  uint64_t pinned = 0;  ///< a rank that reads: pinned host memory; 0 for tensors on the CPU
  /// A rank that reads: the teacher's files with tensors, mapped: page cache, one for all ranks of
  /// a host, which the kernel gives back when memory is short.
  uint64_t mapped_files = 0;
};

/// What a job would do.
struct DryRunReport {
  int world_size = 1;
  /// Who reads in the job that is described: kRoot, kEveryRank or kInTurns. TeacherRead::kAuto is
  /// described as kRoot, its worst case. If every rank reads, only replayed tensors travel.
  TeacherRead read = TeacherRead::kRoot;
  TeacherChoice choice;                ///< of the teacher's files
  std::vector<std::string> in_place;   ///< filled with the teacher's own bytes
  std::vector<CastKey> cast;           ///< as FillReport has them
  std::vector<std::string> assembled;  ///< copied by the reading rank, for layout, views or a cast
  std::vector<ReplayedTensor> replayed;
  std::vector<std::string> missing;     ///< to be filled, not in the teacher
  std::vector<std::string> unexpected;  ///< of the teacher, not to be filled
  std::vector<std::string> skipped;     ///< as FillReport has them
  std::vector<RenamedKey> renamed;
  std::vector<std::vector<std::string>> shared;  ///< registered names that share a storage
  /// Bytes that the root broadcasts to other ranks. FillReport::bytes also counts what a rank reads
  /// for itself.
  uint64_t wire_bytes = 0;
  uint64_t replayed_bytes = 0;  ///< of these, computed and not read
  size_t broadcasts = 0;
  /// What is filled, in the order in which ranks read and send it: for plan_traffic.
  std::vector<PlannedTensor> tensors;
  PlannedMemory memory;
  /// The TeacherError that the job would throw for missing and unexpected keys.
  std::optional<ErrorInfo> strict_failure;
};

/// Dry run of fill_tensors in one process: makes the target, opens the teacher but reads none of
/// its tensors, allocates no storage, needs no GPU, and says what a job of `world_size` ranks would
/// do. Values are not compared: if a teacher holds different values for the names of one tied
/// tensor, only the job itself finds out.
///
/// Throws what fill_tensors throws before it moves bytes: ConfigError, BuildError and TeacherError,
/// except DryRunReport::strict_failure, which is returned.
FAKESCORE_API DryRunReport dry_run(const TargetBuilder& build, const TeacherSource& teacher,
                                   int world_size, const FillOptions& options = {});

}  // namespace fakescore
