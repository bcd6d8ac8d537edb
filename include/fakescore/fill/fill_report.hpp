#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fakescore/fill/fill_options.hpp"
#include "fakescore/teacher/teacher.hpp"
#include "fakescore/tensor/digest.hpp"

namespace fakescore {

struct CastKey {
  std::string name;
  at::ScalarType from;  ///< the teacher's
  at::ScalarType to;    ///< the filled tensor's
};

/// How the names of a teacher and of the tensors to fill fit together.
struct KeyReport {
  std::vector<std::string> missing;     ///< to be filled, not in the teacher
  std::vector<std::string> unexpected;  ///< of the teacher, not to be filled
  /// Of the teacher, not to be filled, and no weights: `_extra_state`, as TransformerEngine has it.
  std::vector<std::string> skipped;
  std::vector<std::string> replayed;  ///< not the teacher's values: those of their initialisation
  std::vector<CastKey> cast;
  TeacherChoice choice;  ///< of the teacher's files, as the root sees them
};

struct PhaseReport {
  std::string name;
  double seconds = 0;  ///< of the slowest rank
  uint64_t bytes = 0;  ///< broadcast by the root, or read by each rank for itself
};

/// The same on every rank.
struct FillReport : KeyReport {
  int world_size = 1;
  std::string backend;
  TeacherRead read = TeacherRead::kRoot;  ///< kRoot, kEveryRank or kInTurns
  std::string read_reason;                ///< why not every rank reads; may be empty
  std::vector<PhaseReport> phases;
  uint64_t bytes = 0;  ///< of all phases
  double seconds = 0;  ///< of the slowest rank
  /// Of the teacher's tensors, as they travel or lie in its files, what each rank has read, by
  /// rank.
  std::vector<uint64_t> read_bytes;
  std::vector<uint64_t> peak_host_bytes;  ///< peak resident set of the process, by rank
  /// Peak of LibTorch's allocator on the rank's GPU since the process began, by rank; empty for
  /// tensors on the CPU.
  std::vector<uint64_t> peak_device_bytes;
  /// Of every tensor, if `verify` was set; with shards, of their parts as these ranks cut them.
  std::optional<Digest> digest;
};

}  // namespace fakescore
